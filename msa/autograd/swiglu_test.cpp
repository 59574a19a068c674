#include "msa/autograd/swiglu.h"

#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

TEST(SwigluRule, EqualsADoubleLoop) {
  const auto x = random_tensor({35, 2 * 11}, 1) * 4;
  const auto a = values_of(x);
  std::vector<double> wanted;
  for (int64_t t = 0; t < 35; ++t) {
    for (int64_t i = 0; i < 11; ++i) {
      const double gate = a[t * 22 + i];
      wanted.push_back(gate / (1 + std::exp(-gate)) * a[t * 22 + 11 + i]);
    }
  }
  expect_near(swiglu(x), wanted, 1e-12);
}

TEST(SwigluRule, GradientsEqualDifferencesAndHoldInShorterTypes) {
  const Rule rule = [](const Tensors& in) { return swiglu(in[0]); };
  for (const int64_t rows : {0, 1, 9}) {
    const Tensors inputs{random_tensor({rows, 2 * 19}, 2)};
    expect_gradients(rule, inputs);
    expect_short_types(rule, inputs, 1);
  }
}

TEST(SwigluRule, OddWidthsAreRefused) {
  expect_refused([] { swiglu(random_tensor({5, 7}, 3)); });
  expect_refused([] { swiglu(random_tensor({8}, 3)); });
}

}  // namespace
}  // namespace msa::autograd
