#include "msa/kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

/// softmax(scale * q . K) V for one query and head over the first `visible` keys.
std::vector<double> attend(const float* query, const std::vector<float>& key,
                           const std::vector<float>& value, int64_t first_key, int64_t visible,
                           int64_t stride, int64_t column, int64_t dim, double scale) {
  std::vector<double> score(visible);
  double highest = -1e300;
  for (int64_t s = 0; s < visible; ++s) {
    double dot = 0;
    for (int64_t d = 0; d < dim; ++d) {
      dot += static_cast<double>(query[d]) * key[(first_key + s) * stride + column + d];
    }
    score[s] = dot * scale;
    highest = std::max(highest, score[s]);
  }
  double total = 0;
  std::vector<double> out(dim);
  for (int64_t s = 0; s < visible; ++s) {
    const double weight = std::exp(score[s] - highest);
    total += weight;
    for (int64_t d = 0; d < dim; ++d) {
      out[d] += weight * value[(first_key + s) * stride + column + d];
    }
  }
  for (double& x : out) x /= total;
  return out;
}

TEST(Attention, BlocksEqualADoubleLoopForOddShapesCausalAndFull) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    uint32_t seed = 10;
    for (const int64_t dim : {2, 16, 30, 32, 64, 96, 128, 256}) {
      for (const auto& [queries, keys] :
           {std::pair<int64_t, int64_t>{1, 1}, {3, 70}, {65, 65}, {40, 200}}) {
        for (const bool is_causal : {true, false}) {
          const int64_t heads = 6;
          const int64_t kv = 2;
          const auto q = random_floats(queries * heads * dim, ++seed);
          const auto k = random_floats(keys * kv * dim, ++seed);
          const auto v = random_floats(keys * kv * dim, ++seed);
          std::vector<float> out(queries * heads * dim, NAN);
          const int64_t query_first[] = {0, queries};
          const int64_t key_first[] = {0, keys};
          const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
          const AttentionParams params{.query = q.data(),
                                       .key = k.data(),
                                       .value = v.data(),
                                       .out = out.data(),
                                       .query_first = query_first,
                                       .key_first = key_first,
                                       .num_heads = heads,
                                       .num_kv_heads = kv,
                                       .head_dim = dim,
                                       .scale = static_cast<float>(scale),
                                       .is_causal = is_causal};
          for (int64_t g = 0; g < kv; ++g) {
            for (int64_t first = 0; first < queries; first += kAttentionBlock) {
              attention_block(params, 0, first, g);
            }
          }
          for (int64_t t = 0; t < queries; ++t) {
            for (int64_t h = 0; h < heads; ++h) {
              const int64_t visible = is_causal ? keys - queries + t + 1 : keys;
              const auto wanted = attend(q.data() + (t * heads + h) * dim, k, v, 0, visible,
                                         kv * dim, h / 3 * dim, dim, scale);
              for (int64_t d = 0; d < dim; ++d) {
                ASSERT_NEAR(out[(t * heads + h) * dim + d], wanted[d], 4e-6)
                    << "dim " << dim << " t " << t << " h " << h << " d " << d << " seed " << seed;
              }
            }
          }
        }
      }
    }
  });
}

TEST(Attention, SequencesSideBySideDoNotSeeEachOther) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const std::vector<int64_t> first{0, 5, 70, 71, 140};
    const int64_t dim = 16;
    const auto q = random_floats(140 * 2 * dim, 1);
    const auto k = random_floats(140 * dim, 2);
    const auto v = random_floats(140 * dim, 3);
    std::vector<float> out(q.size(), NAN);
    const AttentionParams params{.query = q.data(),
                                 .key = k.data(),
                                 .value = v.data(),
                                 .out = out.data(),
                                 .query_first = first.data(),
                                 .key_first = first.data(),
                                 .num_heads = 2,
                                 .num_kv_heads = 1,
                                 .head_dim = dim,
                                 .scale = 0.25F};
    for (int64_t n = 0; n < 4; ++n) {
      for (int64_t begin = 0; begin < first[n + 1] - first[n]; begin += kAttentionBlock) {
        attention_block(params, n, begin, 0);
      }
    }
    for (int64_t n = 0; n < 4; ++n) {
      for (int64_t t = first[n]; t < first[n + 1]; ++t) {
        for (int64_t h = 0; h < 2; ++h) {
          const auto wanted = attend(q.data() + (t * 2 + h) * dim, k, v, first[n], t - first[n] + 1,
                                     dim, 0, dim, 0.25);
          for (int64_t d = 0; d < dim; ++d) {
            ASSERT_NEAR(out[(t * 2 + h) * dim + d], wanted[d], 2e-6) << n << " " << t;
          }
        }
      }
    }
  });
}

TEST(SparseAttention, OneStepEqualsADoubleLoop) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    for (const int64_t dim : {2, 16, 40, 128}) {
      for (const int64_t keys : {1, 7, 300, 1100}) {
        const auto q = random_floats(8 * dim, 4);
        const auto k = random_floats(keys * 2 * dim, 5);
        const auto v = random_floats(keys * 2 * dim, 6);
        std::vector<float> out(8 * dim, NAN);
        std::vector<float> scores(8 * keys);
        sparse_attention({.query = q.data(),
                          .key = k.data(),
                          .value = v.data(),
                          .out = out.data(),
                          .num_keys = keys,
                          .num_heads = 8,
                          .num_kv_heads = 2,
                          .head_dim = dim,
                          .scale = 0.2F,
                          .scores = scores.data()},
                         0, 8);
        for (int64_t h = 0; h < 8; ++h) {
          const auto wanted =
              attend(q.data() + h * dim, k, v, 0, keys, 2 * dim, h / 4 * dim, dim, 0.2F);
          for (int64_t d = 0; d < dim; ++d) ASSERT_NEAR(out[h * dim + d], wanted[d], 4e-6);
        }
      }
    }
  });
}

TEST(Attention, AnyNumberOfHeadsMayShareAKvHead) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    uint32_t seed = 400;
    const int64_t dim = 24;
    const int64_t count = 77;
    for (const auto& [heads, kv] : {std::pair<int64_t, int64_t>{1, 1}, {3, 3}, {7, 1}, {16, 2}}) {
      const auto q = random_floats(count * heads * dim, ++seed);
      const auto k = random_floats(count * kv * dim, ++seed);
      const auto v = random_floats(count * kv * dim, ++seed);
      std::vector<float> out(q.size(), NAN);
      const int64_t first[] = {0, count};
      const AttentionParams params{.query = q.data(),
                                   .key = k.data(),
                                   .value = v.data(),
                                   .out = out.data(),
                                   .query_first = first,
                                   .key_first = first,
                                   .num_heads = heads,
                                   .num_kv_heads = kv,
                                   .head_dim = dim,
                                   .scale = 0.2F};
      for (int64_t g = 0; g < kv; ++g) {
        for (int64_t begin = 0; begin < count; begin += kAttentionBlock) {
          attention_block(params, 0, begin, g);
        }
      }
      for (int64_t t = 0; t < count; ++t) {
        for (int64_t h = 0; h < heads; ++h) {
          const auto wanted = attend(q.data() + (t * heads + h) * dim, k, v, 0, t + 1, kv * dim,
                                     h / (heads / kv) * dim, dim, 0.2F);
          for (int64_t d = 0; d < dim; ++d) {
            ASSERT_NEAR(out[(t * heads + h) * dim + d], wanted[d], 4e-6)
                << heads << " heads, " << kv << " kv heads, token " << t << ", head " << h;
          }
        }
      }
    }
  });
}

TEST(Attention, ABlockWritesOnlyItsOwnRowsAndHeadsAndRepeatsItsBits) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const int64_t dim = 16;
    const int64_t heads = 4;
    const int64_t count = 3 * kAttentionBlock - 5;
    const auto q = random_floats(count * heads * dim, 500);
    const auto k = random_floats(count * 2 * dim, 501);
    const auto v = random_floats(count * 2 * dim, 502);
    constexpr float kUntouched = -12345;
    const int64_t first[] = {0, count};
    const auto run = [&](int64_t begin, int64_t kv_head) {
      std::vector<float> out(q.size(), kUntouched);
      attention_block({.query = q.data(),
                       .key = k.data(),
                       .value = v.data(),
                       .out = out.data(),
                       .query_first = first,
                       .key_first = first,
                       .num_heads = heads,
                       .num_kv_heads = 2,
                       .head_dim = dim,
                       .scale = 0.25F},
                      0, begin, kv_head);
      return out;
    };
    for (int64_t begin = 0; begin < count; begin += kAttentionBlock) {
      const auto out = run(begin, 1);
      for (int64_t t = 0; t < count; ++t) {
        for (int64_t h = 0; h < heads; ++h) {
          const bool is_own = t >= begin && t < begin + kAttentionBlock && h >= 2;
          for (int64_t d = 0; d < dim; ++d) {
            ASSERT_EQ(out[(t * heads + h) * dim + d] != kUntouched, is_own) << t << " " << h;
          }
        }
      }
      EXPECT_EQ(out, run(begin, 1));
    }
  });
}

TEST(Attention, ScoresFarApartNeitherOverflowNorVanish) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const int64_t dim = 32;
    const int64_t count = 130;
    const auto q = random_floats(count * dim, 600, 30);
    const auto k = random_floats(count * dim, 601, 30);
    const auto v = random_floats(count * dim, 602);
    std::vector<float> out(q.size(), NAN);
    std::vector<float> step(dim, NAN);
    std::vector<float> scores(count);
    const int64_t first[] = {0, count};
    for (int64_t begin = 0; begin < count; begin += kAttentionBlock) {
      attention_block({.query = q.data(),
                       .key = k.data(),
                       .value = v.data(),
                       .out = out.data(),
                       .query_first = first,
                       .key_first = first,
                       .num_heads = 1,
                       .num_kv_heads = 1,
                       .head_dim = dim,
                       .scale = 1},
                      0, begin, 0);
    }
    for (int64_t t = 0; t < count; ++t) {
      sparse_attention({.query = q.data() + t * dim,
                        .key = k.data(),
                        .value = v.data(),
                        .out = step.data(),
                        .num_keys = t + 1,
                        .num_heads = 1,
                        .num_kv_heads = 1,
                        .head_dim = dim,
                        .scale = 1,
                        .scores = scores.data()},
                       0, 1);
      const auto wanted = attend(q.data() + t * dim, k, v, 0, t + 1, dim, 0, dim, 1);
      for (int64_t d = 0; d < dim; ++d) {
        // Scores of thousands carry an error of 1e-3 in float32.
        ASSERT_NEAR(out[t * dim + d], wanted[d], 1e-2) << t;
        ASSERT_NEAR(step[d], wanted[d], 1e-2) << t;
      }
    }
  });
}

TEST(SparseAttention, SlicesOfHeadsChangeNoBitAndWriteOnlyTheirOwn) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const int64_t dim = 72;
    const int64_t keys = 93;
    for (const auto& [heads, kv] : {std::pair<int64_t, int64_t>{6, 2}, {8, 2}, {5, 1}, {2, 2}}) {
      const auto q = random_floats(heads * dim, 700);
      const auto k = random_floats(keys * kv * dim, 701);
      const auto v = random_floats(keys * kv * dim, 702);
      constexpr float kUntouched = -12345;
      const auto run = [&](int64_t first, int64_t end, std::vector<float>& out) {
        std::vector<float> scores(heads * keys, kUntouched);
        sparse_attention({.query = q.data(),
                          .key = k.data(),
                          .value = v.data(),
                          .out = out.data(),
                          .num_keys = keys,
                          .num_heads = heads,
                          .num_kv_heads = kv,
                          .head_dim = dim,
                          .scale = 0.1F,
                          .scores = scores.data()},
                         first, end);
        for (int64_t i = 0; i < heads * keys; ++i) {
          const bool is_own = i >= first * keys && i < end * keys;
          ASSERT_EQ(scores[i] != kUntouched, is_own) << "score " << i;
        }
      };
      std::vector<float> whole(heads * dim, kUntouched);
      run(0, heads, whole);
      for (int64_t first = 0; first < heads; ++first) {
        for (int64_t end = first; end <= heads; ++end) {
          std::vector<float> part(heads * dim, kUntouched);
          run(first, end, part);
          for (int64_t i = 0; i < heads * dim; ++i) {
            const bool is_own = i >= first * dim && i < end * dim;
            ASSERT_EQ(part[i], is_own ? whole[i] : kUntouched)
                << "heads " << first << " to " << end << " of " << heads;
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace msa::kernels
