#include "msa/autograd/packed_attention.h"

#include "msa/autograd/test_tensors.h"
#include "msa/base/threads.h"

namespace msa::autograd {
namespace {

struct Case {
  std::vector<int32_t> query_offsets;
  std::vector<int32_t> key_offsets;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t head_dim;

  Tensors inputs(uint32_t seed) const {
    return {random_tensor({query_offsets.back(), num_heads, head_dim}, seed),
            random_tensor({key_offsets.back(), num_kv_heads, head_dim}, seed + 1),
            random_tensor({key_offsets.back(), num_kv_heads, head_dim}, seed + 2)};
  }
  double scale() const { return 1 / std::sqrt(static_cast<double>(head_dim)); }
  Rule rule() const {
    return [this](const Tensors& in) {
      return packed_attention(in[0], in[1], in[2], tensor_of(query_offsets), tensor_of(key_offsets),
                              1000, 1000, scale());
    };
  }
};

// One token, one sequence, longer keys, empty sequences, queries that see nothing, several tiles.
const std::vector<Case> kCases{
    {{0, 1}, {0, 1}, 1, 1, 16},
    {{0, 5}, {0, 5}, 2, 2, 32},
    {{0, 3, 8, 8, 15}, {0, 9, 14, 20, 60}, 3, 1, 20},
    {{0, 7, 9, 12}, {0, 3, 3, 6}, 6, 2, 17},
    {{0, 40, 110}, {0, 150, 220}, 3, 1, 64},
    {{0, 33}, {0, 70}, 6, 2, 128},
    {{0, 6}, {0, 66}, 1, 1, 256},
};

/// By plain loops.
std::vector<double> attend(const Case& c, const Tensors& in) {
  const auto q = values_of(in[0]);
  const auto k = values_of(in[1]);
  const auto v = values_of(in[2]);
  const int64_t dim = c.head_dim;
  std::vector<double> out(q.size());
  for (size_t s = 0; s + 1 < c.query_offsets.size(); ++s) {
    const int64_t num_queries = c.query_offsets[s + 1] - c.query_offsets[s];
    const int64_t num_keys = c.key_offsets[s + 1] - c.key_offsets[s];
    for (int64_t i = 0; i < num_queries; ++i) {
      const int64_t visible = std::max<int64_t>(0, num_keys - num_queries + i + 1);
      for (int64_t h = 0; h < c.num_heads; ++h) {
        const int64_t head = (c.query_offsets[s] + i) * c.num_heads + h;
        const int64_t kv_head = h / (c.num_heads / c.num_kv_heads);
        double total = 0;
        for (int64_t j = 0; j < visible; ++j) {
          const int64_t row = (c.key_offsets[s] + j) * c.num_kv_heads + kv_head;
          double dot = 0;
          for (int64_t d = 0; d < dim; ++d) dot += q[head * dim + d] * k[row * dim + d];
          const double weight = std::exp(dot * c.scale());
          total += weight;
          for (int64_t d = 0; d < dim; ++d) out[head * dim + d] += weight * v[row * dim + d];
        }
        for (int64_t d = 0; d < dim && visible > 0; ++d) out[head * dim + d] /= total;
      }
    }
  }
  return out;
}

TEST(PackedAttentionRule, EqualsADoubleLoop) {
  for (const auto& c : kCases) {
    const auto inputs = c.inputs(1);
    expect_near(c.rule()(inputs), attend(c, inputs), 1e-11);
    expect_near(composed_attention(inputs[0], inputs[1], inputs[2], tensor_of(c.query_offsets),
                                   tensor_of(c.key_offsets), c.scale()),
                attend(c, inputs), 1e-11);
  }
}

TEST(PackedAttentionRule, GradientsEqualDifferences) {
  for (const auto& c : kCases) expect_gradients(c.rule(), c.inputs(4));
}

TEST(PackedAttentionRule, HoldsInShorterTypes) {
  for (const auto& c : kCases) expect_short_types(c.rule(), c.inputs(7), 3);
}

TEST(PackedAttentionRule, GradientsEqualThoseOfPlainProducts) {
  for (const auto& c : kCases) {
    const auto got = differentiate(c.rule(), c.inputs(10), 11);
    const auto wanted = differentiate(
        [&](const Tensors& in) {
          return composed_attention(in[0], in[1], in[2], tensor_of(c.query_offsets),
                                    tensor_of(c.key_offsets), c.scale());
        },
        c.inputs(10), 11);
    for (size_t i = 0; i < 3; ++i) {
      expect_near(got.gradients[i], values_of(wanted.gradients[i]), 1e-11);
    }
  }
}

TEST(PackedAttentionRule, TheNumberOfThreadsChangesNoBit) {
  const auto& c = kCases[4];
  Tensors inputs;
  for (const auto& input : c.inputs(12)) inputs.push_back(input.to(at::kFloat));
  const int before = num_threads();
  const auto several = differentiate(c.rule(), inputs, 13);
  set_num_threads(1);
  const auto one = differentiate(c.rule(), inputs, 13);
  set_num_threads(before);
  EXPECT_TRUE(several.result.equal(one.result));
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(several.gradients[i].equal(one.gradients[i]));
}

TEST(PackedAttentionRule, NoSequencesGiveNothing) {
  const Case c{{0}, {0}, 2, 1, 16};
  EXPECT_EQ(c.rule()(c.inputs(1)).sizes(), (at::IntArrayRef{0, 2, 16}));
}

TEST(PackedAttentionRule, ShapesAndOffsetsThatDoNotFitAreRefused) {
  const Case right{{0, 2, 4}, {0, 3, 6}, 2, 1, 16};
  const auto run = [&](const Case& c, const Tensors& in) { c.rule()(in); };
  const auto in = right.inputs(1);
  expect_refused([&] { run({{0, 2, 5}, {0, 3, 6}, 2, 1, 16}, in); });
  expect_refused([&] { run({{0, 2, 4}, {0, 6}, 2, 1, 16}, in); });
  expect_refused([&] { run({{0, 4, 2}, {0, 3, 6}, 2, 1, 16}, in); });
  expect_refused([&] { run(right, {in[0].view({4, 1, 32}), in[1], in[2]}); });
  expect_refused([&] { run(right, {in[0], in[1], in[2].slice(0, 1)}); });
  expect_refused([&] { run(right, {in[0], in[1].to(at::kFloat), in[2]}); });
}

}  // namespace
}  // namespace msa::autograd
