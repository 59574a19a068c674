#include "msa/autograd/unit_heads.h"

#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

TEST(UnitHeadsRule, LengthsBecomeOne) {
  const auto x = random_tensor({7, 3, 5}, 1);
  const auto a = values_of(x);
  std::vector<double> wanted;
  for (size_t head = 0; head < a.size(); head += 5) {
    double squares = 0;
    for (size_t i = 0; i < 5; ++i) squares += a[head + i] * a[head + i];
    for (size_t i = 0; i < 5; ++i) wanted.push_back(a[head + i] / std::sqrt(squares));
  }
  expect_near(unit_heads(x), wanted, 1e-12);
}

TEST(UnitHeadsRule, GradientsEqualDifferencesAndHoldInShorterTypes) {
  const Rule rule = [](const Tensors& in) { return unit_heads(in[0]); };
  for (const int64_t rows : {0, 1, 9}) {
    expect_gradients(rule, {random_tensor({rows, 2, 16}, 2)});
    expect_short_types(rule, {random_tensor({rows, 2, 16}, 2)}, 1);
  }
}

TEST(UnitHeadsRule, AHeadOfZerosStaysAndGetsNoGradient) {
  auto x = random_tensor({2, 2, 4}, 3);
  x[1][0].zero_();
  x.requires_grad_();
  const auto unit = unit_heads(x);
  EXPECT_EQ(unit[1][0].abs().max().item<double>(), 0);
  (unit * random_tensor({2, 2, 4}, 4)).sum().backward();
  EXPECT_EQ(x.grad()[1][0].abs().max().item<double>(), 0);
  EXPECT_GT(x.grad()[0][0].abs().max().item<double>(), 0);
}

TEST(UnitHeadsRule, OtherShapesAreRefused) {
  expect_refused([] { unit_heads(random_tensor({5, 8}, 5)); });
}

}  // namespace
}  // namespace msa::autograd
