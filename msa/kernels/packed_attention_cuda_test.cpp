#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/packed_attention.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

struct Heads {
  int64_t num;
  int64_t num_kv;
  int64_t dim;
};

struct Sequences {
  std::vector<int32_t> queries;
  std::vector<int32_t> keys;
};

std::vector<int32_t> firsts(const std::vector<int32_t>& counts) {
  std::vector<int32_t> result{0};
  for (const int32_t count : counts) result.push_back(result.back() + count);
  return result;
}

/// Scores, softmax and sum in double for one query and head over keys [first, end).
std::vector<double> attend(const BFloat16* query, const std::vector<BFloat16>& key,
                           const std::vector<BFloat16>& value, int64_t first, int64_t end,
                           int64_t column, int64_t stride, int64_t dim, double scale) {
  std::vector<double> score;
  double most = -INFINITY;
  for (int64_t s = first; s < end; ++s) {
    double dot = 0;
    for (int64_t d = 0; d < dim; ++d) {
      dot += static_cast<double>(to_float(query[d])) * to_float(key[s * stride + column + d]);
    }
    score.push_back(dot * scale);
    most = std::max(most, score.back());
  }
  double total = 0;
  std::vector<double> out(dim);
  for (int64_t s = first; s < end; ++s) {
    const double weight = std::exp(score[s - first] - most);
    total += weight;
    for (int64_t d = 0; d < dim; ++d) {
      out[d] += weight * to_float(value[s * stride + column + d]);
    }
  }
  for (double& x : out) x = end > first ? x / total : 0.0;
  return out;
}

/// Values are about 1, so is a result over few keys. What is rounded: numerators (2^-9 each, of
/// both signs) and the result (2^-9 of itself).
constexpr double kTolerance = 4e-3;
constexpr double kRelative = 5e-3;

/// Every `step`th query against a double loop, all of them against what was not written.
void expect_attention(const Heads& heads, const Sequences& sequences, bool is_causal,
                      float key_scale, int64_t step, uint32_t seed) {
  SCOPED_TRACE("H " + std::to_string(heads.num) + " G " + std::to_string(heads.num_kv) + " D " +
               std::to_string(heads.dim) + (is_causal ? " causal" : " full") + " seed " +
               std::to_string(seed));
  const auto query_first = firsts(sequences.queries);
  const auto key_first = firsts(sequences.keys);
  const int64_t row = heads.num * heads.dim;
  const int64_t stride = heads.num_kv * heads.dim;
  const auto query = rounded(random_floats(query_first.back() * row, seed));
  const auto key = rounded(random_floats(key_first.back() * stride, seed + 1, key_scale));
  const auto value = rounded(random_floats(key_first.back() * stride, seed + 2));
  const double scale = 1.0 / std::sqrt(static_cast<double>(heads.dim));
  const std::vector<BFloat16> unwritten(query.size() + 8, to_bfloat16(NAN));
  const auto device_query = to_device(query);
  const auto device_key = to_device(key);
  const auto device_value = to_device(value);
  const auto device_out = to_device(unwritten);
  const auto device_query_first = to_device(query_first);
  const auto device_key_first = to_device(key_first);
  packed_attention_cuda(
      {.query = device_query.get(),
       .key = device_key.get(),
       .value = device_value.get(),
       .out = device_out.get(),
       .query_first = device_query_first.get(),
       .key_first = device_key_first.get(),
       .num_queries = query_first.back(),
       .num_keys = key_first.back(),
       .num_sequences = static_cast<int64_t>(sequences.queries.size()),
       .most_queries = *std::max_element(sequences.queries.begin(), sequences.queries.end()),
       .num_heads = heads.num,
       .num_kv_heads = heads.num_kv,
       .head_dim = heads.dim,
       .scale = static_cast<float>(scale),
       .is_causal = is_causal},
      nullptr);
  const auto out = to_host(device_out, unwritten.size());
  for (size_t i = 0; i < query.size(); ++i) {
    ASSERT_FALSE(std::isnan(to_float(out[i]))) << "not written: " << i;
  }
  for (size_t i = query.size(); i < out.size(); ++i) ASSERT_TRUE(std::isnan(to_float(out[i])));
  for (size_t n = 0; n < sequences.queries.size(); ++n) {
    const int64_t queries = sequences.queries[n];
    for (int64_t t = queries - 1; t >= 0; t -= step) {
      for (int64_t h = 0; h < heads.num; ++h) {
        const int64_t hidden = is_causal ? queries - 1 - t : 0;
        const int64_t first = key_first[n];
        const int64_t place = ((query_first[n] + t) * heads.num + h) * heads.dim;
        const auto wanted = attend(
            query.data() + place, key, value, first, std::max(first, key_first[n + 1] - hidden),
            h / (heads.num / heads.num_kv) * heads.dim, stride, heads.dim, scale);
        for (int64_t d = 0; d < heads.dim; ++d) {
          ASSERT_NEAR(to_float(out[place + d]), wanted[d],
                      kTolerance + kRelative * std::abs(wanted[d]))
              << "sequence " << n << " query " << t << " head " << h << " at " << d;
        }
      }
    }
  }
}

TEST(PackedAttentionCuda, EqualsADoubleLoopCausalAndFull) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  // Lengths around the borders of tiles and steps; sequences without queries, without keys, with a
  // prefix, and with fewer keys than queries.
  const Sequences sequences{{1, 33, 0, 64, 65, 5, 0, 127, 3, 20},
                            {1, 33, 0, 64, 200, 69, 7, 127, 0, 12}};
  uint32_t seed = 100;
  for (const Heads& heads : {Heads{32, 8, 128}, Heads{6, 2, 64}, Heads{4, 4, 128}, Heads{8, 1, 64},
                             Heads{3, 1, 80}, Heads{2, 2, 16}}) {
    for (const bool is_causal : {true, false}) {
      expect_attention(heads, sequences, is_causal, 1, 3, seed += 10);
    }
  }
}

TEST(PackedAttentionCuda, OneQuestionOverALongPrefixEqualsADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  uint32_t seed = 500;
  for (const Heads& heads : {Heads{32, 8, 128}, Heads{6, 2, 64}, Heads{3, 1, 96}}) {
    for (const auto& [queries, keys] : {std::pair{48, 300}, {1, 1}, {7, 1234}, {300, 2000}}) {
      expect_attention(heads, {{queries}, {keys}}, true, 1, 17, seed += 10);
    }
    expect_attention(heads, {{40}, {777}}, false, 1, 7, seed += 10);
  }
}

TEST(PackedAttentionCuda, ManyDocumentsEqualADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const std::vector<int32_t> lengths{500, 513, 17, 640, 1000, 256, 999, 64, 800};
  expect_attention({32, 8, 128}, {lengths, lengths}, true, 1, 101, 900);
  expect_attention({6, 2, 64}, {lengths, lengths}, false, 1, 101, 910);
  expect_attention({8, 4, 64}, {lengths, lengths}, true, 1, 101, 920);
  expect_attention({16, 16, 128}, {lengths, lengths}, false, 1, 101, 930);
}

/// Results of equal documents of 32 / 8 heads of 128, but for the keys and values of `document`.
std::vector<BFloat16> attend_with(int32_t document, BFloat16 rows_of_document) {
  const std::vector<int32_t> lengths{140, 300, 77, 640, 513, 256, 99, 64, 8};
  const auto first = firsts(lengths);
  const int64_t num_tokens = first.back();
  const auto query = to_device(rounded(random_floats(num_tokens * 4096, 970)));
  auto key = rounded(random_floats(num_tokens * 1024, 971));
  auto value = rounded(random_floats(num_tokens * 1024, 972));
  for (int64_t i = first[document] * 1024; i < first[document + 1] * 1024; ++i) {
    key[i] = value[i] = rows_of_document;
  }
  const auto device_key = to_device(key);
  const auto device_value = to_device(value);
  const auto borders = to_device(first);
  const auto out = device_array<BFloat16>(num_tokens * 4096);
  packed_attention_cuda({.query = query.get(),
                         .key = device_key.get(),
                         .value = device_value.get(),
                         .out = out.get(),
                         .query_first = borders.get(),
                         .key_first = borders.get(),
                         .num_queries = num_tokens,
                         .num_keys = num_tokens,
                         .num_sequences = static_cast<int64_t>(lengths.size()),
                         .most_queries = 640,
                         .num_heads = 32,
                         .num_kv_heads = 8,
                         .head_dim = 128,
                         .scale = 0.09F},
                        nullptr);
  auto result = to_host(out, num_tokens * 4096);
  result.erase(result.begin() + first[document] * 4096,
               result.begin() + first[document + 1] * 4096);
  return result;
}

TEST(PackedAttentionCuda, WhatIsNoNumberStaysInItsDocument) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const int32_t document : {1, 3, 8}) {
    const auto wanted = attend_with(document, to_bfloat16(0));
    const auto got = attend_with(document, to_bfloat16(NAN));
    for (size_t i = 0; i < wanted.size(); ++i) ASSERT_EQ(got[i].bits, wanted[i].bits) << i;
  }
}

TEST(PackedAttentionCuda, ScoresFarApartEqualADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  expect_attention({8, 2, 128}, {{130, 20}, {130, 400}}, true, 30, 3, 950);
}

TEST(PackedAttentionCuda, ShapesOutsideTheRangesAreRefused) {
  const PackedAttentionParams good{
      .num_sequences = 1, .most_queries = 1, .num_heads = 4, .num_kv_heads = 2, .head_dim = 64};
  const auto expect_refused = [&](auto change) {
    auto params = good;
    change(params);
    EXPECT_THROW(packed_attention_cuda(params, nullptr), Error);
  };
  for (const int64_t dim : {0, 8, 72, 144}) {
    expect_refused([&](auto& p) { p.head_dim = dim; });
  }
  expect_refused([](auto& p) { p.num_heads = 5; });
  expect_refused([](auto& p) { p.num_kv_heads = 0; });
  expect_refused([](auto& p) { p.num_heads = p.num_kv_heads = 65536; });
  expect_refused([](auto& p) { p.most_queries = int64_t{1} << 29; });  // times 2 x 2 heads
  expect_refused([](auto& p) { p.num_sequences = 65536; });
}

}  // namespace
}  // namespace msa::kernels
