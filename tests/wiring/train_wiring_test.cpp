// Losses and gradients of a training step whose rules have kernels on the host.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>

#include "msa/base/test_paths.h"
#include "tests/parity/golden_step.h"
#include "tests/wiring/call_arrays.h"
#include "tests/wiring/host_kernels.h"

namespace msa::wiring {
namespace {

using parity::GoldenStep;

// Of bfloat16 activations, relative to the length of what is compared.
constexpr double kLossTolerance = 1e-2;
constexpr double kGradientTolerance = 0.15;

void expect_near(const at::Tensor& got, const at::Tensor& wanted, double tolerance) {
  const auto expected = wanted.to(at::kDouble);
  EXPECT_LE((got.to(at::kDouble) - expected).norm().item<double>(),
            tolerance * expected.norm().item<double>());
}

/// The step by kernels against the composed rules in float64.
void expect_wired(GoldenStep step) {
  const parity::GoldenSet golden(source_folder() / "tests/data/golden");
  step.is_smooth = true;
  step.type = at::kDouble;
  const auto wanted = run_step(golden, step);
  step.type = at::kBFloat16;
  const HostKernels kernels;
  const auto got = run_step(golden, step);
  EXPECT_NEAR(got.loss, wanted.loss, kLossTolerance * std::abs(wanted.loss));
  expect_near(got.terms, wanted.terms, kLossTolerance);
  expect_near(got.auxiliary, wanted.auxiliary, kLossTolerance);
  for (const auto& [name, gradient] : wanted.gradients) {
    SCOPED_TRACE(name);
    ASSERT_EQ(got.gradients.at(name).defined(), gradient.defined());
    if (gradient.defined()) expect_near(got.gradients.at(name), gradient, kGradientTolerance);
  }

  const auto expect_called = [](std::initializer_list<const char*> names, bool are_called) {
    for (const char* name : names) {
      EXPECT_EQ(kernel_calls()[name] > 0, are_called) << name;
      EXPECT_EQ(kernel_calls()[name + std::string("_gradient")] > 0, are_called) << name;
    }
  };
  expect_called({"norm_rows", "norm_heads", "swiglu"}, true);
  expect_called({"pool_rows"}, step.asks);
  expect_called({"unit_heads"}, step.asks && step.method != "BCE");
  EXPECT_GT(kernel_calls()["sum_rows"], 0);
  EXPECT_EQ(kernel_calls()["token_loss"] > 0, step.learns_tokens);
}

class TrainWiring : public testing::TestWithParam<std::string> {};

TEST_P(TrainWiring, LossesAndGradientsAreThoseOfTheComposedRules) {
  expect_wired({.method = GetParam()});
}

INSTANTIATE_TEST_SUITE_P(Methods, TrainWiring,
                         testing::Values("INFONCE", "INFONCE_FOCAL", "INFONCE_DECOUPLE",
                                         "INFONCE_DECOUPLE_FOCAL", "BCE"),
                         [](const auto& info) { return info.param; });

TEST(TrainWiringParts, WithoutRoutersOfItsOwn) { expect_wired({.has_routers = false}); }

TEST(TrainWiringParts, WithoutQuestions) { expect_wired({.asks = false}); }

TEST(TrainWiringParts, RoutingAlone) { expect_wired({.learns_tokens = false}); }

TEST(TrainWiringParts, WithActivationsMadeAgain) { expect_wired({.recomputes_layers = true}); }

}  // namespace
}  // namespace msa::wiring
