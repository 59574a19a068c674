#include "msa/ops/linear.h"

#include "msa/ops/test_tensors.h"

namespace msa::ops {
namespace {

TEST(LinearOp, EqualsADoubleLoopForFewAndManyRowsInBothTypes) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const int64_t rows : {0, 1, 3, 15, 16, 33}) {
      const auto x = random_tensor({rows, 19}, 1).to(type);
      const auto weight = random_tensor({7, 19}, 2).to(type);
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
      const auto out = ops::linear(x, weight);
      EXPECT_EQ(out.sizes(), (at::IntArrayRef{rows, 7}));
      EXPECT_EQ(out.scalar_type(), type);
      expect_near(out, wanted, type == at::kFloat ? 4e-6 : 8e-3);
    }
  }
}

TEST(LinearOp, ShapesAndTypesThatDoNotFitAreRefused) {
  const auto x = random_tensor({5, 8}, 3);
  expect_refused([&] { ops::linear(x, random_tensor({3, 7}, 4)); });
  expect_refused([&] { ops::linear(x, random_tensor({8}, 4)); });
  expect_refused([&] { ops::linear(x.view({5, 2, 4}), x); });
  expect_refused([&] { ops::linear(x, x.to(at::kBFloat16)); });
}

}  // namespace
}  // namespace msa::ops
