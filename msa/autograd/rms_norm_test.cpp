#include "msa/autograd/rms_norm.h"

#include <ATen/ops/cat.h>

#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

TEST(RmsNormRule, EqualsADoubleLoop) {
  for (const int64_t rows : {0, 1, 35}) {
    const auto x = random_tensor({rows, 13}, 1);
    const auto weight = random_tensor({13}, 2);
    const auto a = values_of(x);
    const auto w = values_of(weight);
    std::vector<double> wanted;
    for (int64_t t = 0; t < rows; ++t) {
      double squares = 0;
      for (int64_t i = 0; i < 13; ++i) squares += a[t * 13 + i] * a[t * 13 + i];
      const double factor = 1 / std::sqrt(squares / 13 + 1e-5);
      for (int64_t i = 0; i < 13; ++i) wanted.push_back(w[i] * a[t * 13 + i] * factor);
    }
    expect_near(rms_norm(x, weight, 1e-5), wanted, 1e-12);
    expect_near(rms_norm(x.to(at::kFloat), weight.to(at::kFloat), 1e-5), wanted, 2e-6);
  }
}

TEST(RmsNormRule, GradientsEqualDifferencesAndHoldInShorterTypes) {
  const Rule rule = [](const Tensors& in) { return rms_norm(in[0], in[1], 1e-5); };
  for (const int64_t rows : {0, 1, 9}) {
    const Tensors inputs{random_tensor({rows, 24}, 3), random_tensor({24}, 4)};
    expect_gradients(rule, inputs);
    expect_short_types(rule, inputs, 1);
  }
}

TEST(RmsNormRule, ASumAndItsNormEqualTheTwoApart) {
  const auto weight = random_tensor({24}, 7);
  const auto x = random_tensor({9, 24}, 8);
  const auto addend = random_tensor({9, 24}, 9);
  const auto both = add_rms_norm(x, addend, weight, 1e-5);
  EXPECT_TRUE(both.sum.equal(x + addend));
  EXPECT_TRUE(both.normed.equal(rms_norm(x + addend, weight, 1e-5)));
  EXPECT_TRUE(add_rms_norm(x, {}, weight, 1e-5).sum.equal(x));
  const Rule rule = [](const Tensors& in) {
    const auto rows = add_rms_norm(in[0], in[1], in[2], 1e-5);
    return at::cat({rows.sum, rows.normed}, 1);
  };
  expect_gradients(rule, {x, addend, weight});
  expect_short_types(rule, {x, addend, weight}, 2);
  expect_refused([&] { add_rms_norm(x, random_tensor({8, 24}, 9), weight, 1e-5); });
}

TEST(RmsNormRule, ShapesAndTypesThatDoNotFitAreRefused) {
  const auto x = random_tensor({5, 8}, 5);
  expect_refused([&] { rms_norm(x, random_tensor({7}, 6), 1e-6); });
  expect_refused([&] { rms_norm(x.view({5, 2, 4}), random_tensor({4}, 6), 1e-6); });
  expect_refused([&] { rms_norm(x.to(at::kLong), random_tensor({8}, 6), 1e-6); });
}

}  // namespace
}  // namespace msa::autograd
