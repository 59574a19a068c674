#include "msa/train/forward.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <vector>

#include "msa/model/parameter_shapes.h"
#include "msa/samples/random_batch.h"
#include "msa/train/parameters.h"
#include "msa/train/small_config.h"
#include "msa/train/step_memory.h"
#include "msa/train/tensor_memory.h"

namespace msa::train {
namespace {

/// Deep enough that what is kept of its layers counts.
model::ModelConfig deep_config() {
  return small_config({{"num_hidden_layers", 8},
                       {"hidden_size", 64},
                       {"intermediate_size", 192},
                       {"head_dim", 16},
                       {"msa_config", {{"router_layer_idx", "4,5,6,7"}}}});
}

/// A step over a random memory.
class ForwardTest : public testing::Test {
 protected:
  struct Step {
    StepLosses losses;
    std::vector<at::Tensor> gradients;
    int64_t kept_bytes = 0;  // between the forward and the backward pass
    int64_t peak_bytes = 0;
    StepMemory estimate;
  };

  Step step(bool recomputes_layers, bool routers_alone = false) {
    const at::Tensor temperature = parameters_["temperature"];
    parameters_.train_routers_alone(routers_alone);
    ForwardOptions options;
    options.weights = {.term = {1, 0.5, 0, 1}, .auxiliary = 1};
    options.totals.add(batch_);
    options.routing = {.top_k = 3, .forces_gold = true, .num_negatives = 5, .loss = {}};
    options.routing.loss.temperature = temperature;
    options.recomputes_layers = recomputes_layers;
    const ModelTensors tensors =
        gather_tensors(config_, [&](const std::string& name) { return parameters_.find(name); });
    const StepInput input =
        step_input(batch_, config_.msa.chunk_tokens, options.weights, options.totals, at::kCPU);
    Step out;
    const TensorMemory memory(at::kCPU);
    out.estimate = step_memory(config_, batch_, options, OptimizerMethod::kAdamW);
    out.losses = forward(math_, tensors, input, options);
    out.kept_bytes = memory.bytes();
    out.losses.loss.backward();
    out.peak_bytes = memory.peak_bytes();
    for (const NamedTensor& parameter : parameters_.all()) {
      out.gradients.push_back(parameter.tensor.grad());
      parameter.tensor.mutable_grad() = at::Tensor();
    }
    return out;
  }

  void expect_same_bits(const Step& a, const Step& b) const {
    EXPECT_TRUE(at::equal(a.losses.loss, b.losses.loss));
    EXPECT_TRUE(at::equal(a.losses.terms, b.losses.terms));
    EXPECT_TRUE(at::equal(a.losses.auxiliary, b.losses.auxiliary));
    EXPECT_TRUE(at::equal(a.losses.selected_hits, b.losses.selected_hits));
    for (size_t i = 0; i < a.gradients.size(); ++i) {
      const std::string& name = parameters_.all()[i].name;
      ASSERT_EQ(a.gradients[i].defined(), b.gradients[i].defined()) << name;
      if (!a.gradients[i].defined()) continue;
      EXPECT_TRUE(at::equal(a.gradients[i], b.gradients[i])) << name;
    }
  }

  const model::ModelConfig config_ = deep_config();
  const LayerMath math_{config_, 1024, at::kCPU};
  Parameters parameters_ = Parameters::random(config_, 1);
  const samples::Batch batch_ = samples::random_batch({.seed = 3,
                                                       .vocab_size = config_.vocab_size,
                                                       .memory_tokens = 1500,
                                                       .document_tokens = 60,
                                                       .num_naming = 8,
                                                       .num_reading = 2,
                                                       .sequence_tokens = 2000});
};

TEST_F(ForwardTest, ActivationsMadeAgainGiveTheSameBitsAndAreNotKept) {
  const Step kept = step(/*recomputes_layers=*/false);
  const Step again = step(/*recomputes_layers=*/true);
  expect_same_bits(kept, again);
  for (const at::Tensor& gradient : again.gradients) EXPECT_TRUE(gradient.defined());
  EXPECT_LT(again.kept_bytes, kept.kept_bytes / 5);
  EXPECT_LT(again.peak_bytes, kept.peak_bytes / 2);
}

TEST_F(ForwardTest, TheEstimateOfMemoryIsNearWhatIsMeasured) {
  for (const bool recomputes_layers : {false, true}) {
    SCOPED_TRACE(recomputes_layers ? "made again" : "kept");
    const Step one = step(recomputes_layers);
    const auto kept = static_cast<double>(one.kept_bytes);
    EXPECT_NEAR(static_cast<double>(one.estimate.activations), kept, 0.1 * kept);
    // Weights were there before.
    const auto peak = static_cast<double>(one.peak_bytes);
    const auto estimate =
        static_cast<double>(one.estimate.peak() - one.estimate.weights - one.estimate.optimizer);
    EXPECT_NEAR(estimate, peak, 0.15 * peak);
  }
}

TEST_F(ForwardTest, RoutersThatLearnAloneDoSoWithActivationsMadeAgain) {
  const Step kept = step(/*recomputes_layers=*/false, /*routers_alone=*/true);
  const Step again = step(/*recomputes_layers=*/true, /*routers_alone=*/true);
  expect_same_bits(kept, again);
  for (size_t i = 0; i < again.gradients.size(); ++i) {
    const std::string& name = parameters_.all()[i].name;
    EXPECT_EQ(again.gradients[i].defined(), model::is_router_parameter(name)) << name;
  }
}

}  // namespace
}  // namespace msa::train
