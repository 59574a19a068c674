#include "msa/train/forward.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
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

  struct Case {
    bool recomputes_layers = false;
    bool routers_alone = false;
    bool learns_documents = false;
    at::ScalarType type = at::kFloat;
    StepDropout dropout = {};
  };

  Step step(const Case& of) {
    const at::Tensor temperature = parameters_["temperature"];
    parameters_.train_routers_alone(of.routers_alone);
    ForwardOptions options;
    options.type = of.type;
    options.weights = {.term = {1, 0.5, 0, 1, of.learns_documents ? 0.5 : 0}, .auxiliary = 1};
    options.totals.add(batch_);
    options.routing = {.top_k = 3, .forces_gold = true, .num_negatives = 5, .loss = {}};
    options.routing.loss.temperature = temperature;
    options.recomputes_layers = of.recomputes_layers;
    options.dropout = of.dropout;
    const ModelTensors tensors = gather_tensors(
        config_, [&](const std::string& name) { return parameters_.find(name); }, options.type);
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
                                                       .sequence_tokens = 2000,
                                                       .learns_documents = true});
};

TEST_F(ForwardTest, ActivationsMadeAgainGiveTheSameBitsAndAreNotKept) {
  for (const bool learns_documents : {false, true}) {
    SCOPED_TRACE(learns_documents ? "documents are learned" : "documents are not learned");
    const Step kept = step({.learns_documents = learns_documents});
    const Step again = step({.recomputes_layers = true, .learns_documents = learns_documents});
    expect_same_bits(kept, again);
    for (const at::Tensor& gradient : again.gradients) EXPECT_TRUE(gradient.defined());
    EXPECT_LT(again.kept_bytes, kept.kept_bytes / 5);
    EXPECT_LT(again.peak_bytes, kept.peak_bytes / 2);
  }
}

/// Targets and texts of the batch's documents, as sequences that stand alone.
samples::Batch alone(const samples::Batch& batch) {
  samples::Batch out;
  out.sequences = batch.documents;
  out.targets = batch.document_targets;
  out.targets.terms.assign(out.targets.terms.size(), samples::LossTerm::kLanguage);
  out.names.assign(static_cast<size_t>(out.sequences.num_sequences()), "alone");
  return out;
}

TEST_F(ForwardTest, DocumentsOfAMemoryAreLearnedAsIfTheyStoodAlone) {
  const auto language_step = [&](const samples::Batch& batch, samples::LossTerm term) {
    ForwardOptions options;
    options.type = at::kDouble;
    options.weights.term[static_cast<size_t>(term)] = 1;
    options.totals.add(batch);
    options.routing.top_k = 3;
    options.routing.loss.temperature = parameters_["temperature"];
    const ModelTensors tensors = gather_tensors(
        config_, [&](const std::string& name) { return parameters_.find(name); }, options.type);
    const StepInput input =
        step_input(batch, config_.msa.chunk_tokens, options.weights, options.totals, at::kCPU);
    Step out;
    out.losses = forward(math_, tensors, input, options);
    out.losses.loss.backward();
    for (const NamedTensor& parameter : parameters_.all()) {
      out.gradients.push_back(parameter.tensor.grad());
      parameter.tensor.mutable_grad() = at::Tensor();
    }
    return out;
  };
  const Step inside = language_step(batch_, samples::LossTerm::kDocuments);
  const Step outside = language_step(alone(batch_), samples::LossTerm::kLanguage);
  EXPECT_NEAR(inside.losses.loss.item<double>(), outside.losses.loss.item<double>(), 1e-9);
  EXPECT_NEAR(inside.losses.terms[4].item<double>(), outside.losses.terms[0].item<double>(), 1e-5);
  for (size_t i = 0; i < inside.gradients.size(); ++i) {
    const std::string& name = parameters_.all()[i].name;
    ASSERT_EQ(inside.gradients[i].defined(), outside.gradients[i].defined()) << name;
    if (!inside.gradients[i].defined()) continue;
    EXPECT_LT((inside.gradients[i] - outside.gradients[i]).abs().max().item<double>(),
              1e-5 * (1e-3 + outside.gradients[i].abs().max().item<double>()))
        << name;
  }
}

TEST_F(ForwardTest, PassesOfDocumentsGiveWhatOnePassGives) {
  samples::Batch batch = batch_;
  // No target in the documents that the second pass begins with.
  const auto& offsets = batch.documents.offsets;
  samples::Targets some;
  for (size_t i = 0; i < batch.document_targets.rows.size(); ++i) {
    const int32_t row = batch.document_targets.rows[i];
    if (row >= offsets[6] && row < offsets[20]) continue;
    some.add(row, batch.document_targets.tokens[i], 1, samples::LossTerm::kDocuments);
  }
  batch.document_targets = some;
  const auto run = [&](int64_t pass_tokens, size_t num_passes) {
    ForwardOptions options;
    options.type = at::kDouble;
    options.weights = {.term = {1, 1, 0, 1, 0.5}, .auxiliary = 1};
    options.totals.add(batch);
    options.routing.top_k = 3;
    options.routing.loss.temperature = parameters_["temperature"];
    std::vector<int64_t> learned_rows;
    options.on_border = [&](const LayerBorder& border, const at::Tensor& tensor) {
      if (border.rows != RowsOf::kDocumentTargets || border.tensor != "residual stream") return;
      EXPECT_EQ(border.first_row, learned_rows.empty() ? 0 : learned_rows.back());
      learned_rows.push_back(border.first_row + tensor.size(0));
    };
    const StepInput input = step_input(batch, config_.msa.chunk_tokens, options.weights,
                                       options.totals, at::kCPU, pass_tokens);
    EXPECT_EQ(input.passes.size(), num_passes);
    const ModelTensors tensors = gather_tensors(
        config_, [&](const std::string& name) { return parameters_.find(name); }, options.type);
    Step out;
    out.losses = forward(math_, tensors, input, options);
    out.losses.loss.backward();
    EXPECT_EQ(learned_rows.back(), some.size());
    for (const NamedTensor& parameter : parameters_.all()) {
      out.gradients.push_back(parameter.tensor.grad());
      parameter.tensor.mutable_grad() = at::Tensor();
    }
    return out;
  };
  const Step one = run(kTokensOfPass, 1);
  const Step many = run(200, 9);
  EXPECT_NEAR(one.losses.loss.item<double>(), many.losses.loss.item<double>(), 1e-9);
  for (size_t i = 0; i < one.gradients.size(); ++i) {
    ASSERT_EQ(one.gradients[i].defined(), many.gradients[i].defined());
    if (!one.gradients[i].defined()) continue;
    EXPECT_LT((one.gradients[i] - many.gradients[i]).abs().max().item<double>(),
              1e-5 * (1e-3 + one.gradients[i].abs().max().item<double>()))
        << parameters_.all()[i].name;
  }
}

/// A target is hit where no other token has a smaller loss in its place.
TEST(Forward, HitsAreTheMostProbableTokens) {
  const model::ModelConfig config = small_config();
  const LayerMath math(config, 64, at::kCPU);
  const Parameters parameters = Parameters::random(config, 4);
  const ModelTensors tensors = gather_tensors(
      config, [&](const std::string& name) { return parameters.find(name); }, at::kFloat);
  samples::Batch batch;
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 12; ++i) tokens.push_back((7 * i + 3) % 40);
  batch.sequences.add(tokens, 0);
  batch.names = {"one"};
  const auto losses_of = [&](int32_t row, int32_t token) {
    batch.targets = {};
    batch.targets.add(row, token, 1, samples::LossTerm::kLanguage);
    ForwardOptions options;
    options.weights.term[0] = 1;
    options.totals.add(batch);
    options.keeps_hits = true;
    return forward(
        math, tensors,
        step_input(batch, config.msa.chunk_tokens, options.weights, options.totals, at::kCPU),
        options);
  };
  for (const int32_t row : {0, 3, 7, 11}) {
    int32_t best = 0;
    double smallest = std::numeric_limits<double>::infinity();
    std::vector<bool> hits;
    for (int32_t token = 0; token < 40; ++token) {
      const StepLosses losses = losses_of(row, token);
      hits.push_back(losses.hits.item<bool>());
      const auto loss = losses.loss.item<double>();
      if (loss < smallest) best = token;
      smallest = std::min(smallest, loss);
    }
    for (int32_t token = 0; token < 40; ++token) {
      EXPECT_EQ(hits[static_cast<size_t>(token)], token == best) << row << " " << token;
    }
  }
}

TEST_F(ForwardTest, TheEstimateOfMemoryIsNearWhatIsMeasured) {
  for (const Case& of : {Case{}, Case{.recomputes_layers = true}, Case{.learns_documents = true},
                         Case{.recomputes_layers = true, .learns_documents = true}}) {
    SCOPED_TRACE(of.recomputes_layers ? "made again" : "kept");
    SCOPED_TRACE(of.learns_documents ? "documents are learned" : "documents are not learned");
    const Step one = step(of);
    const auto kept = static_cast<double>(one.kept_bytes);
    EXPECT_NEAR(static_cast<double>(one.estimate.activations), kept, 0.1 * kept);
    // Weights were there before.
    const auto peak = static_cast<double>(one.peak_bytes);
    const auto estimate =
        static_cast<double>(one.estimate.peak() - one.estimate.weights - one.estimate.optimizer);
    EXPECT_NEAR(estimate, peak, 0.15 * peak);
  }
}

TEST_F(ForwardTest, ProductsOfAnotherTypeThanTheWeightsGiveTheSameBitsWithActivationsMadeAgain) {
  for (const at::ScalarType type : {at::kDouble, at::kBFloat16}) {
    SCOPED_TRACE(c10::toString(type));
    const Step kept = step({.learns_documents = true, .type = type});
    const Step again = step({.recomputes_layers = true, .learns_documents = true, .type = type});
    expect_same_bits(kept, again);
    for (const at::Tensor& gradient : again.gradients) {
      ASSERT_TRUE(gradient.defined());
      EXPECT_EQ(gradient.scalar_type(), at::kFloat);
      EXPECT_TRUE(at::isfinite(gradient).all().item<bool>());
    }
  }
}

TEST_F(ForwardTest, DropoutFollowsFromItsSeedAndIsTheSameInActivationsMadeAgain) {
  const auto with = [&](bool recomputes, StepDropout dropout) {
    return step({.recomputes_layers = recomputes, .learns_documents = true, .dropout = dropout});
  };
  const Step kept = with(false, {.share = 0.2, .seed = 5});
  expect_same_bits(kept, with(true, {.share = 0.2, .seed = 5}));
  EXPECT_FALSE(at::equal(kept.losses.loss, with(false, {.share = 0.2, .seed = 6}).losses.loss));
  EXPECT_FALSE(at::equal(kept.losses.loss, with(false, {}).losses.loss));
  expect_same_bits(with(false, {}), with(false, {.share = 0, .seed = 6}));
}

TEST_F(ForwardTest, RoutersThatLearnAloneDoSoWithActivationsMadeAgain) {
  const Step kept = step({.routers_alone = true});
  const Step again = step({.recomputes_layers = true, .routers_alone = true});
  expect_same_bits(kept, again);
  for (size_t i = 0; i < again.gradients.size(); ++i) {
    const std::string& name = parameters_.all()[i].name;
    EXPECT_EQ(again.gradients[i].defined(), model::is_router_parameter(name)) << name;
  }
}

}  // namespace
}  // namespace msa::train
