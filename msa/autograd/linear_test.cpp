#include "msa/autograd/linear.h"

#include <ATen/ops/ones.h>

#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

TEST(LinearRule, EqualsADoubleLoop) {
  for (const int64_t rows : {0, 1, 33}) {
    const auto x = random_tensor({rows, 19}, 1);
    const auto weight = random_tensor({7, 19}, 2);
    const auto a = values_of(x);
    const auto b = values_of(weight);
    std::vector<double> wanted;
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t n = 0; n < 7; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < 19; ++k) sum += a[t * 19 + k] * b[n * 19 + k];
        wanted.push_back(sum);
      }
    }
    const auto out = autograd::linear(x, weight);
    EXPECT_EQ(out.sizes(), (at::IntArrayRef{rows, 7}));
    expect_near(out, wanted, 1e-12);
  }
}

TEST(LinearRule, GradientsEqualDifferencesAndHoldInShorterTypes) {
  const Rule rule = [](const Tensors& in) { return autograd::linear(in[0], in[1]); };
  for (const int64_t rows : {0, 1, 40}) {
    const Tensors inputs{random_tensor({rows, 24}, 3), random_tensor({9, 24}, 4)};
    expect_gradients(rule, inputs);
    expect_short_types(rule, inputs, 1);
  }
}

TEST(LinearRule, AWeightsGradientIsNotRoundedToTheValuesType) {
  // bfloat16 cannot hold 257.
  const auto x = at::ones({257, 1}, at::kBFloat16);
  const auto weight = at::ones({1, 1}, at::kFloat).requires_grad_();
  autograd::linear(x, weight).sum().backward();
  EXPECT_EQ(weight.grad().item<float>(), 257);
}

TEST(LinearRule, OnlyWhatIsAskedForGetsAGradient) {
  const auto x = random_tensor({4, 3}, 5);
  const auto weight = random_tensor({2, 3}, 6).requires_grad_();
  autograd::linear(x, weight).sum().backward();
  EXPECT_TRUE(weight.grad().defined());
  EXPECT_FALSE(x.grad().defined());
  const auto other = random_tensor({4, 3}, 5).requires_grad_();
  autograd::linear(other, weight.detach()).sum().backward();
  expect_near(other.grad(), values_of(weight.detach().sum(0).expand({4, 3})), 1e-12);
}

TEST(LinearRule, ShapesThatDoNotFitAreRefused) {
  const auto x = random_tensor({5, 8}, 7);
  expect_refused([&] { autograd::linear(x, random_tensor({3, 7}, 8)); });
  expect_refused([&] { autograd::linear(x, random_tensor({8}, 8)); });
  expect_refused([&] { autograd::linear(x.view({5, 2, 4}), x); });
}

}  // namespace
}  // namespace msa::autograd
