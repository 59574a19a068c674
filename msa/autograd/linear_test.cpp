#include "msa/autograd/linear.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/ones.h>

#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

at::Tensor product(const at::Tensor& x, const at::Tensor& weight) {
  return linear(x, product_weight({weight}, x.scalar_type()));
}

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
    const auto out = product(x, weight);
    EXPECT_EQ(out.sizes(), (at::IntArrayRef{rows, 7}));
    expect_near(out, wanted, 1e-12);
  }
}

TEST(LinearRule, GradientsEqualDifferencesAndHoldInShorterTypes) {
  const Rule rule = [](const Tensors& in) { return product(in[0], in[1]); };
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
  product(x, weight).sum().backward();
  EXPECT_EQ(weight.grad().item<float>(), 257);
}

TEST(LinearRule, OnlyWhatIsAskedForGetsAGradient) {
  const auto x = random_tensor({4, 3}, 5);
  const auto weight = random_tensor({2, 3}, 6).requires_grad_();
  product(x, weight).sum().backward();
  EXPECT_TRUE(weight.grad().defined());
  EXPECT_FALSE(x.grad().defined());
  const auto other = random_tensor({4, 3}, 5).requires_grad_();
  product(other, weight.detach()).sum().backward();
  expect_near(other.grad(), values_of(weight.detach().sum(0).expand({4, 3})), 1e-12);
}

TEST(LinearRule, MatricesBelowEachOtherAreOneProductAndGetTheirOwnGradients) {
  const auto x = random_tensor({6, 8}, 9).to(at::kFloat).requires_grad_();
  const auto rows = random_tensor({6, 10}, 10).to(at::kFloat);
  Tensors matrices;
  for (const int64_t n : {5, 2, 3}) {
    matrices.push_back(random_tensor({n, 8}, 11 + n).to(at::kFloat).requires_grad_());
  }
  const auto joint = at::cat(matrices).detach().requires_grad_();
  const auto gradients = [&](const at::Tensor& y) {
    (y * rows).sum().backward();
    Tensors found{x.grad()};
    x.mutable_grad() = at::Tensor();
    return found;
  };
  const auto wanted = product(x, joint);
  const auto weight = product_weight(matrices, at::kFloat);
  EXPECT_FALSE(weight.values.requires_grad());
  const auto got = linear(x, weight);
  EXPECT_TRUE(at::equal(got, wanted));
  const auto wanted_x = gradients(wanted)[0];
  EXPECT_TRUE(at::equal(gradients(got)[0], wanted_x));
  int64_t row = 0;
  for (const auto& matrix : matrices) {
    EXPECT_TRUE(at::equal(matrix.grad(), joint.grad().narrow(0, row, matrix.size(0))));
    row += matrix.size(0);
  }
  expect_near(linear(x, weight.without_first()), values_of(wanted.narrow(1, 5, 5)), 1e-5);
  matrices[1].requires_grad_(false).mutable_grad() = at::Tensor();
  linear(x, product_weight(matrices, at::kFloat)).sum().backward();
  EXPECT_FALSE(matrices[1].grad().defined());
}

TEST(LinearRule, GradientsNeedNoValue) {
  const Tensors inputs{random_tensor({5, 8}, 12), random_tensor({4, 8}, 13)};
  const auto gradients = [&](Purpose purpose) {
    return differentiate(
        [&](const Tensors& in) {
          return linear(in[0], product_weight({in[1]}, at::kDouble), purpose);
        },
        inputs, 14);
  };
  const auto wanted = gradients(Purpose::kValues);
  const auto got = gradients(Purpose::kGradients);
  EXPECT_TRUE(at::isnan(got.result).all().item<bool>());
  EXPECT_EQ(got.result.sizes(), wanted.result.sizes());
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_TRUE(at::equal(got.gradients[i], wanted.gradients[i])) << "input " << i;
  }
}

TEST(LinearRule, AMatrixOfTheTypeOfProductsIsReadWhereItLies) {
  const auto matrix = random_tensor({4, 8}, 15).to(at::kFloat);
  EXPECT_TRUE(product_weight({matrix}, at::kFloat).values.is_alias_of(matrix));
  EXPECT_EQ(product_weight({matrix}, at::kBFloat16).values.scalar_type(), at::kBFloat16);
}

TEST(LinearRule, ShapesThatDoNotFitAreRefused) {
  const auto x = random_tensor({5, 8}, 7);
  expect_refused([&] { product(x, random_tensor({3, 7}, 8)); });
  expect_refused([&] { product(x, random_tensor({8}, 8)); });
  expect_refused([&] { product(x.view({5, 2, 4}), x); });
  expect_refused([&] { linear(x, product_weight({x}, at::kFloat)); });
  expect_refused([&] { product_weight({x, random_tensor({3, 7}, 8)}, at::kFloat); });
  expect_refused([&] { product_weight({x, x.to(at::kFloat)}, at::kFloat); });
  expect_refused([&] { product_weight({}, at::kFloat); });
}

}  // namespace
}  // namespace msa::autograd
