#include "msa/autograd/dropout.h"

#include <ATen/ops/equal.h>

#include <cmath>

#include "msa/autograd/checkpointed.h"
#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

constexpr double kShare = 0.3;

TEST(DropoutRule, LeavesWhatItKeepsLargerByTheShareOfTheRest) {
  const auto x = random_tensor({400, 250}, 1);
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const auto before = values_of(x.to(type));
    const auto after = values_of(dropout(x.to(type), kShare, 7));
    int64_t num_zeros = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      num_zeros += after[i] == 0;
      if (after[i] == 0) continue;
      const double wanted = before[i] / (1 - kShare);
      ASSERT_NEAR(after[i], wanted, (type == at::kBFloat16 ? 1e-2 : 1e-6) * std::abs(wanted));
    }
    // 100,000 draws: six standard deviations are 0.0087.
    EXPECT_NEAR(static_cast<double>(num_zeros) / 1e5, kShare, 0.009);
  }
}

TEST(DropoutRule, FollowsFromTheSeedAlone) {
  const auto x = random_tensor({30, 40}, 2);
  const auto first = dropout(x, kShare, 1);
  EXPECT_FALSE(at::equal(first, dropout(x, kShare, 2)));
  EXPECT_TRUE(at::equal(first, dropout(x, kShare, 1)));
  EXPECT_TRUE(at::equal(dropout(x, 0, 1), x));
}

TEST(DropoutRule, GradientsEqualDifferences) {
  const Rule rule = [](const Tensors& in) { return dropout(in[0], kShare, 3); };
  for (const int64_t rows : {0, 1, 9}) expect_gradients(rule, {random_tensor({rows, 19}, 3)});
}

TEST(DropoutRule, AFunctionThatRunsAgainForItsGradientsDropsTheSame) {
  const auto part = [](const Tensors& in, Purpose purpose) {
    return Tensors{dropout(in[0] * in[0], kShare, 4, purpose)};
  };
  const Tensors inputs{random_tensor({12, 10}, 4)};
  const auto plain =
      differentiate([&](const Tensors& in) { return part(in, Purpose::kValues)[0]; }, inputs, 5);
  const auto again =
      differentiate([&](const Tensors& in) { return checkpointed(part, in)[0]; }, inputs, 5);
  EXPECT_TRUE(at::equal(plain.result, again.result));
  EXPECT_TRUE(at::equal(plain.gradients[0], again.gradients[0]));
}

TEST(DropoutRule, RefusesSharesOfAllAndTensorsOfOtherSides) {
  expect_refused([] { dropout(random_tensor({5, 7}, 3), 1, 0); });
  expect_refused([] { dropout(random_tensor({5, 7}, 3), -0.1, 0); });
  expect_refused([] { dropout(random_tensor({8}, 3), 0.1, 0); });
}

}  // namespace
}  // namespace msa::autograd
