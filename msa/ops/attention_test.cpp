#include "msa/ops/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "msa/ops/test_tensors.h"

namespace msa::ops {
namespace {

/// Rows [first_query, end_query) of q see keys first_key .. last(t); plain double loops.
void attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t first_query,
            int64_t end_query, int64_t first_key, int64_t end_key, bool is_causal,
            std::vector<double>& out) {
  const int64_t heads = q.size(1);
  const int64_t kv = k.size(1);
  const int64_t dim = q.size(2);
  const auto query = values_of(q);
  const auto key = values_of(k);
  const auto value = values_of(v);
  for (int64_t t = first_query; t < end_query; ++t) {
    const int64_t end = is_causal ? end_key - (end_query - 1 - t) : end_key;
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t g = h / (heads / kv);
      std::vector<double> score;
      for (int64_t s = first_key; s < end; ++s) {
        double dot = 0;
        for (int64_t d = 0; d < dim; ++d) {
          dot += query[(t * heads + h) * dim + d] * key[(s * kv + g) * dim + d];
        }
        score.push_back(dot / std::sqrt(static_cast<double>(dim)));
      }
      const double highest = *std::max_element(score.begin(), score.end());
      double total = 0;
      for (double& x : score) total += x = std::exp(x - highest);
      for (int64_t d = 0; d < dim; ++d) {
        double sum = 0;
        for (int64_t s = first_key; s < end; ++s) {
          sum += score[s - first_key] / total * value[(s * kv + g) * dim + d];
        }
        out[(t * heads + h) * dim + d] = sum;
      }
    }
  }
}

TEST(AttentionOp, EqualsADoubleLoopCausalAndFull) {
  for (const bool is_causal : {true, false}) {
    for (const auto& [queries, keys] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {70, 71}}) {
      const auto q = random_tensor({queries, 6, 10}, 1);
      const auto k = random_tensor({keys, 2, 10}, 2);
      const auto v = random_tensor({keys, 2, 10}, 3);
      std::vector<double> wanted(q.numel());
      attend(q, k, v, 0, queries, 0, keys, is_causal, wanted);
      const auto out = attention(q, k, v, is_causal);
      EXPECT_EQ(out.sizes(), (at::IntArrayRef{queries, 60}));
      expect_near(out, wanted, 4e-6);
    }
  }
}

TEST(AttentionOp, PackedDocumentsEqualADoubleLoopEach) {
  const std::vector<int64_t> offsets{0, 5, 5, 6, 73};
  const auto q = random_tensor({73, 4, 6}, 4);
  const auto k = random_tensor({73, 2, 6}, 5);
  const auto v = random_tensor({73, 2, 6}, 6);
  std::vector<double> wanted(q.numel());
  for (size_t n = 0; n + 1 < offsets.size(); ++n) {
    attend(q, k, v, offsets[n], offsets[n + 1], offsets[n], offsets[n + 1], true, wanted);
  }
  expect_near(packed_attention(q, k, v, offsets_of(offsets)), wanted, 4e-6);
}

TEST(AttentionOp, NoQueriesHaveNoResult) {
  const auto q = random_tensor({0, 2, 4}, 7);
  const auto k = random_tensor({3, 2, 4}, 8);
  EXPECT_EQ(attention(q, k, k, true).numel(), 0);
  const auto none = random_tensor({0, 2, 4}, 9);
  EXPECT_EQ(packed_attention(q, none, none, offsets_of({0})).numel(), 0);
}

TEST(AttentionOp, OffsetsThatAreNotThoseOfTheRowsAreRefused) {
  const auto x = random_tensor({10, 2, 4}, 10);
  for (const auto& offsets : wrong_offsets(10)) {
    expect_refused([&] { packed_attention(x, x, x, offsets); });
  }
}

TEST(AttentionOp, ShapesAndTypesThatDoNotFitAreRefused) {
  const auto x = random_tensor({5, 2, 4}, 11);
  const auto longer = random_tensor({6, 2, 4}, 12);
  expect_refused([&] { attention(longer, x, x, true); });
  expect_refused([&] { attention(x, longer, x, true); });
  expect_refused([&] { attention(x.view({10, 4}), x, x, true); });
  expect_refused([&] { attention(at::zeros({}), x, x, true); });
  expect_refused([&] { attention(random_tensor({5, 3, 4}, 1), x, x, true); });
  expect_refused([&] { attention(random_tensor({5, 2, 6}, 1), x, x, true); });
  expect_refused([&] { attention(x.to(at::kBFloat16), x, x, true); });
  expect_refused([&] { attention(x.transpose(0, 1), x, x, true); });
  const auto no_heads = at::empty({5, 0, 4}, at::kFloat);
  expect_refused([&] { attention(x, no_heads, no_heads, true); });
  const auto wide = random_tensor({2, 1, 4096}, 1);
  expect_refused([&] { attention(wide, wide, wide, true); });
  expect_refused([&] { packed_attention(x, longer, longer, offsets_of({0, 5})); });
}

}  // namespace
}  // namespace msa::ops
