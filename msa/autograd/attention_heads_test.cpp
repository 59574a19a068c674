#include "msa/autograd/attention_heads.h"

#include <ATen/ops/cat.h>

#include "msa/autograd/norm_rope.h"
#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

constexpr int64_t kDim = 16;

TEST(AttentionHeadsRule, EqualsTheNormsOfItsColumns) {
  for (const int64_t num_heads : {0, 6}) {
    const auto joint = random_tensor({7, (num_heads + 4) * kDim}, 1);
    const auto q_weight = random_tensor({kDim}, 2);
    const auto k_weight = random_tensor({kDim}, 3);
    const auto angle = random_tensor({7, kDim / 2}, 4);
    const auto got = attention_heads(joint, {num_heads, 2, kDim}, q_weight, k_weight, 1e-6,
                                     angle.cos(), angle.sin());
    const auto columns = [&](int64_t first, int64_t count) {
      return joint.narrow(1, first * kDim, count * kDim).unflatten(1, {count, kDim});
    };
    const auto normed = [&](const at::Tensor& x, const at::Tensor& weight) {
      return norm_rope(x, weight, 1e-6, angle.cos(), angle.sin());
    };
    EXPECT_EQ(got.q.defined(), num_heads > 0);
    if (num_heads > 0) {
      EXPECT_TRUE(got.q.equal(normed(columns(0, num_heads), q_weight)));
    }
    EXPECT_TRUE(got.k.equal(normed(columns(num_heads, 2), k_weight)));
    EXPECT_TRUE(got.v.equal(columns(num_heads + 2, 2)));
  }
}

TEST(AttentionHeadsRule, GradientsEqualDifferencesAndHoldInShorterTypes) {
  const auto angle = random_tensor({5, kDim / 2}, 5);
  const Rule rule = [&](const Tensors& in) {
    const auto heads =
        attention_heads(in[0], {3, 1, kDim}, in[1], in[2], 1e-6, angle.cos(), angle.sin());
    return at::cat({heads.q, heads.k, heads.v}, 1);
  };
  const Tensors inputs{random_tensor({5, 5 * kDim}, 6), random_tensor({kDim}, 7),
                       random_tensor({kDim}, 8)};
  expect_gradients(rule, inputs);
  expect_short_types(rule, inputs, 1);
}

TEST(AttentionHeadsRule, ShapesThatDoNotFitAreRefused) {
  const auto joint = random_tensor({5, 4 * kDim}, 9);
  const auto weight = random_tensor({kDim}, 10);
  const auto angle = random_tensor({5, kDim / 2}, 11);
  expect_refused([&] { attention_heads(joint, {3, 1, kDim}, weight, weight, 1e-6, angle, angle); });
  expect_refused([&] {
    attention_heads(joint, {2, 1, kDim}, weight, random_tensor({8}, 10), 1e-6, angle, angle);
  });
  expect_refused([&] {
    attention_heads(joint, {2, 1, kDim}, weight, weight, 1e-6, angle.narrow(0, 0, 4), angle);
  });
}

}  // namespace
}  // namespace msa::autograd
