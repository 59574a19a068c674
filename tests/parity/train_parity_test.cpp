// Losses, document scores and gradients of one training step equal the recorded ones.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/samples/batch.h"
#include "msa/train/compute_device.h"
#include "tests/parity/golden_step.h"

namespace msa::train {
namespace {

constexpr double kLossTolerance = 1e-5;
constexpr double kGradientTolerance = 5e-5;

using parity::GoldenSet;
using samples::LossTerm;

const GoldenSet& golden() {
  static const GoldenSet set(source_folder() / "tests/data/golden");
  return set;
}

double relative_error(const at::Tensor& got, const std::vector<float>& wanted) {
  const auto expected = at::tensor(wanted).to(at::kDouble);
  const auto difference = got.detach().flatten().cpu().to(at::kDouble) - expected;
  return difference.abs().max().item<double>() / expected.abs().max().item<double>();
}

void check_value(double got, double wanted, double tolerance, const std::string& what) {
  EXPECT_LE(std::abs(got - wanted), tolerance * std::abs(wanted))
      << what << ": got " << got << ", wanted " << wanted;
}

/// What a device and a type of activations may differ by.
struct Tolerance {
  double loss = kLossTolerance;
  double gradient = kGradientTolerance;
};

/// One step over both samples; compares everything.
void check_step(const std::string& method, at::ScalarType type, at::Device device,
                const Tolerance& tolerance, bool recomputes_layers = false) {
  const auto step = parity::run_step(
      golden(),
      {.method = method, .type = type, .device = device, .recomputes_layers = recomputes_layers});
  const auto lines = golden().lines("train/losses.jsonl");
  const auto wanted = std::find_if(
      lines.begin(), lines.end(),
      [&, name = method](const Json& line) { return line["aux_loss_method"] == name; });
  ASSERT_NE(wanted, lines.end());
  const Json& losses = (*wanted)["losses"];
  const auto term = [&](LossTerm of) {
    return step.terms[static_cast<int64_t>(of)].item<double>();
  };
  check_value(step.loss, losses["total"], tolerance.loss, "total");
  check_value(term(LossTerm::kLanguage), losses["lm"], tolerance.loss, "lm");
  check_value(term(LossTerm::kReconstruction), losses["rec"], tolerance.loss, "rec");
  check_value(term(LossTerm::kAnswer), losses["ans"], tolerance.loss, "ans");
  check_value(step.auxiliary.mean().item<double>(), losses["aux"], tolerance.loss, "aux");
  for (int64_t slot = 0; slot < 3; ++slot) {
    const std::string layer = std::to_string(slot + 3);
    check_value(step.auxiliary[slot].item<double>(), (*wanted)["aux_per_layer"][layer],
                tolerance.loss, "layer " + layer);
  }

  std::string file = "train/gradients_" + method + ".safetensors";
  std::transform(file.begin(), file.end(), file.begin(), ::tolower);
  int64_t num_compared = 0;
  for (const auto& [name, gradient] : step.gradients) {
    const auto expected = golden().tensor(file, name);
    if (!expected) continue;
    ++num_compared;
    ASSERT_TRUE(gradient.defined()) << name;
    EXPECT_LE(relative_error(gradient, *expected), tolerance.gradient) << name;
  }
  EXPECT_EQ(num_compared, method == "BCE" ? 22 : 21);
}

class TrainParity : public testing::TestWithParam<std::tuple<std::string, at::ScalarType>> {};

TEST_P(TrainParity, LossesAndGradientsAreTheRecordedOnes) {
  check_step(std::get<0>(GetParam()), std::get<1>(GetParam()), at::kCPU, {});
}

TEST_P(TrainParity, ActivationsMadeAgainGiveTheSameBits) {
  const auto& [method, type] = GetParam();
  const auto kept = parity::run_step(golden(), {.method = method, .type = type});
  const auto again =
      parity::run_step(golden(), {.method = method, .type = type, .recomputes_layers = true});
  EXPECT_EQ(kept.loss, again.loss);
  EXPECT_TRUE(at::equal(kept.terms, again.terms));
  EXPECT_TRUE(at::equal(kept.auxiliary, again.auxiliary));
  int64_t num_compared = 0;
  for (const auto& [name, gradient] : kept.gradients) {
    const at::Tensor& other = again.gradients.at(name);
    ASSERT_EQ(gradient.defined(), other.defined()) << name;
    if (!other.defined()) continue;
    ++num_compared;
    EXPECT_TRUE(at::equal(gradient, other)) << name;
  }
  EXPECT_GE(num_compared, method == "BCE" ? 22 : 21);
}

TEST_P(TrainParity, TheSameOnAGpu) {
  at::Device device = at::kCPU;
  try {
    device = open_compute_device("gpu");
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  for (const bool recomputes_layers : {false, true}) {
    SCOPED_TRACE(recomputes_layers ? "activations made again" : "activations kept");
    check_step(std::get<0>(GetParam()), std::get<1>(GetParam()), device, {2e-5, 2e-4},
               recomputes_layers);
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, TrainParity,
                         testing::Combine(testing::Values("INFONCE", "INFONCE_FOCAL",
                                                          "INFONCE_DECOUPLE",
                                                          "INFONCE_DECOUPLE_FOCAL", "BCE"),
                                          testing::Values(at::kDouble, at::kFloat)),
                         [](const auto& info) {
                           return std::get<0>(info.param) +
                                  (std::get<1>(info.param) == at::kDouble ? "_f64" : "_f32");
                         });

}  // namespace
}  // namespace msa::train
