// Faults at every site of a training step: each is caught in that step, named, and changes nothing.

#include "msa/train/step_fault.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/nan_to_num.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "msa/samples/random_batch.h"
#include "msa/train/small_config.h"
#include "msa/train/train_step.h"

namespace msa::train {
namespace {

using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kCleanSteps = 10;  // before a fault: the guard must know what is usual

/// Writes a value under autograd's eyes, as broken memory does.
void poison(const at::Tensor& tensor, int64_t place, double value) {
  tensor.detach().view(-1).data_ptr<float>()[place] = static_cast<float>(value);
}

/// Every sequence has a name of its own.
samples::Batch named_batch(int64_t vocab_size) {
  samples::Batch batch = samples::random_batch({.seed = 3,
                                                .vocab_size = vocab_size,
                                                .memory_tokens = 150,
                                                .document_tokens = 30,
                                                .num_naming = 4,
                                                .num_reading = 0,
                                                .sequence_tokens = 300,
                                                .learns_documents = true});
  for (size_t s = 0; s < batch.names.size(); ++s) batch.names[s] = "sample-" + std::to_string(s);
  return batch;
}

/// A model with Muon and AdamW, routers, a temperature and two kinds of loss.
class StepFaultTest : public testing::TestWithParam<bool> {
 protected:
  StepFaultTest() {
    phase_.name = "test";
    phase_.rate = 1e-3;
    phase_.losses = {.language = 1,
                     .auxiliary = 1,
                     .ids = 0.5,
                     .reconstruction = 0,
                     .answer = 1,
                     .documents = 0.5};
    phase_.auxiliary.learns_temperature = true;
    phase_.auxiliary.method = AuxiliaryMethod::kInfonce;
    for (int64_t i = 0; i < kCleanSteps; ++i) EXPECT_EQ(step(), "");
    clean_guard_ = guard_.state();
  }

  /// Takes a step; empty if it was taken, else the guard's reason. The rest is in `result_`.
  std::string step(const OnBorder& on_border = {}) {
    ForwardOptions options = phase_options(phase_, parameters_, at::kFloat);
    options.recomputes_layers = GetParam();
    options.on_border = on_border;
    result_ =
        take_step(math_, parameters_, optimizer_,
                  prepare_step(config_, batch_, options, flops_options(phase_, options), at::kCPU),
                  options, {.step = num_steps_++, .rate = phase_.rate, .limits = guard_.limits()});
    return guard_.add(result_.outcome);
  }

  std::vector<at::Tensor> all_values() const {
    std::vector<at::Tensor> values;
    for (const auto& list : {parameters_.all(), optimizer_.state()}) {
      for (const NamedTensor& named : list) values.push_back(named.tensor.detach().clone());
    }
    return values;
  }

  /// The step was skipped, counted and named, and nothing has changed by a bit.
  void expect_caught(const std::string& reason, const std::string& wanted,
                     const std::vector<at::Tensor>& before) {
    EXPECT_THAT(reason, HasSubstr(wanted));
    EXPECT_FALSE(result_.outcome.is_taken);
    EXPECT_EQ(guard_.num_skipped_in_row(), 1);
    EXPECT_FALSE(guard_.must_stop());
    const std::vector<at::Tensor> after = all_values();
    // But for the poisoned value itself.
    const auto finite = [](const at::Tensor& all) { return at::nan_to_num(all, 0, 0, 0); };
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_TRUE(at::equal(finite(before[i]), finite(after[i])));
    }
    guard_.restore(clean_guard_);
    num_caught_ += testing::Test::HasFailure() ? 0 : 1;
  }

  /// A value that is not finite, and a place, by turns.
  double next_bad() { return std::vector<double>{kNan, kInfinity, -kInfinity}[num_sites_ % 3]; }

  /// Poisons a value that stays between steps, for one step.
  void expect_state_fault(const NamedTensor& named, const std::string& wanted) {
    SCOPED_TRACE(named.name);
    const double bad = next_bad();
    const int64_t place = num_sites_++ % 2 == 0 ? 0 : named.tensor.numel() - 1;
    const float good = named.tensor.detach().view(-1)[place].item<float>();
    poison(named.tensor, place, bad);
    const auto before = all_values();
    const std::string reason = step();
    expect_caught(reason, wanted, before);
    EXPECT_EQ(result_.bad_tensors, std::vector<std::string>{named.name});
    poison(named.tensor, place, good);
  }

  /// What the first or the last row of a tensor belongs to.
  std::vector<std::string> samples_of(RowsOf rows, bool is_last) const {
    switch (rows) {
      case RowsOf::kDocumentTokens:
      case RowsOf::kChunks:
        return {"document " + std::to_string(is_last ? batch_.documents.num_sequences() - 1 : 0)};
      case RowsOf::kSequenceTokens:
        return {is_last ? batch_.names.back() : "the prompt head"};
      case RowsOf::kDocumentTargets:
        return samples_of(RowsOf::kDocumentTokens, is_last);
      case RowsOf::kTargets:
        return samples_of(is_last ? RowsOf::kSequenceTargets : RowsOf::kDocumentTargets, is_last);
      case RowsOf::kSequenceTargets: {
        const auto row = is_last ? batch_.targets.rows.back() : batch_.targets.rows.front();
        const auto& offsets = batch_.sequences.offsets;
        const auto end = std::upper_bound(offsets.begin(), offsets.end(), row);
        return {batch_.names[static_cast<size_t>(end - offsets.begin() - 1)]};
      }
      case RowsOf::kNothing:
        return {};
    }
    return {};
  }

  void expect_all_caught(size_t at_least) {
    std::printf("caught %zu of %zu faults\n", num_caught_, num_sites_);
    EXPECT_EQ(num_caught_, num_sites_);
    EXPECT_GE(num_sites_, at_least);
    EXPECT_EQ(step(), "") << "nothing is left of the faults";
  }

  const model::ModelConfig config_ =
      small_config({{"num_hidden_layers", 4}, {"msa_config", {{"router_layer_idx", "1,2,3"}}}});
  const LayerMath math_{config_, 1024, at::kCPU};
  Parameters parameters_ = Parameters::random(config_, 1);
  Optimizer optimizer_{parameters_.all(), {}};
  Guard guard_{{}};
  PhaseConfig phase_;
  const samples::Batch batch_ = named_batch(config_.vocab_size);
  StepResult result_;
  int64_t num_steps_ = 0;
  Json clean_guard_;
  size_t num_sites_ = 0;
  size_t num_caught_ = 0;
};

TEST_P(StepFaultTest, OfEveryWeight) {
  for (const NamedTensor& parameter : parameters_.all()) {
    expect_state_fault(parameter, "a weight is not finite");
  }
  expect_all_caught(parameters_.all().size());
}

TEST_P(StepFaultTest, OfAllThatTheOptimizerRemembers) {
  for (const NamedTensor& tensor : optimizer_.state()) {
    expect_state_fault(tensor, "what the optimizer remembers is not finite");
  }
  expect_all_caught(parameters_.all().size());
}

TEST_P(StepFaultTest, OfEveryGradient) {
  const double spike = 1000 * result_.outcome.gradient_norm;
  for (const NamedTensor& parameter : parameters_.all()) {
    SCOPED_TRACE(parameter.name);
    for (const double bad : {next_bad(), spike}) {
      bool is_poisoned = false;
      const auto hook = parameter.tensor.register_hook([&](const at::Tensor& gradient) {
        if (!gradient.defined()) return gradient;
        const at::Tensor changed = gradient.clone();
        changed.view(-1)[changed.numel() / 2] = bad;
        is_poisoned = true;
        return changed;
      });
      const auto before = all_values();
      const std::string reason = step();
      parameter.tensor.remove_hook(hook);
      if (!is_poisoned) {  // routers below the middle learn nothing
        ASSERT_THAT(parameter.name, HasSubstr("layers.1.self_attn.router_"));
        break;
      }
      ++num_sites_;
      expect_caught(
          reason,
          std::isfinite(bad) ? "the length of the gradient jumped to" : "a gradient is not finite",
          before);
      EXPECT_EQ(result_.bad_tensors, std::vector<std::string>{parameter.name});
    }
  }
  expect_all_caught(2 * (parameters_.all().size() - 2));
}

TEST_P(StepFaultTest, OfEveryActivationBetweenLayersAndOfTheLoss) {
  std::vector<std::pair<LayerBorder, int64_t>> borders;  // with the number of values
  step([&](const LayerBorder& border, const at::Tensor& tensor) {
    if (tensor.defined()) borders.emplace_back(border, tensor.numel());
  });
  std::map<std::string, int> seen;
  for (const auto& [border, count] : borders) ++seen[name_of(border)];
  for (const char* name :
       {"embedding, documents", "residual stream of layer 0, documents",
        "pooled keys of layer 1, documents", "pooled values of layer 2, documents",
        "pooled routing keys of layer 3, documents", "embedding, sequences",
        "residual stream of layer 2, sequences", "residual stream of layer 3, sequences",
        "routing loss of layer 3", "residual stream of layer 3, documents", "final norm",
        "token losses", "loss"}) {
    EXPECT_EQ(seen[name], 1) << name;
  }
  for (size_t i = 0; i < borders.size(); ++i) {
    const auto& [border, count] = borders[i];
    SCOPED_TRACE(name_of(border));
    for (const int64_t place : {int64_t{0}, count - 1}) {
      const double bad = next_bad();
      ++num_sites_;
      size_t next = 0;
      const auto before = all_values();
      const std::string reason = step([&](const LayerBorder&, const at::Tensor& tensor) {
        if (tensor.defined() && next++ == i) poison(tensor, place, bad);
      });
      expect_caught(reason, "an activation is not finite", before);
      EXPECT_EQ(result_.bad_tensors, std::vector<std::string>{name_of(border)});
      EXPECT_EQ(result_.bad_samples, samples_of(border.rows, place > 0));
    }
  }
  expect_all_caught(2 * (GetParam() ? 24 : 32));
}

TEST_P(StepFaultTest, OfALossThatJumps) {
  const double usual = result_.outcome.loss;
  for (const double factor : {3.0, 100.0, 1e30}) {
    ++num_sites_;
    const auto before = all_values();
    const std::string reason = step([&](const LayerBorder& border, const at::Tensor& tensor) {
      if (border.tensor == "loss") poison(tensor, 0, factor * usual);
    });
    expect_caught(reason, "the loss jumped to", before);
  }
  expect_all_caught(3);
}

TEST_P(StepFaultTest, TheGuardStopsWhereAFaultStays) {
  poison(parameters_["model.norm.weight"], 2, kNan);
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_FALSE(guard_.must_stop());
    EXPECT_THAT(step(), HasSubstr("a weight is not finite"));
  }
  EXPECT_TRUE(guard_.must_stop());
}

INSTANTIATE_TEST_SUITE_P(Activations, StepFaultTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "MadeAgain" : "Kept"; });

}  // namespace
}  // namespace msa::train
