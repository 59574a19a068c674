#include "msa/train/train_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <utility>

#include "msa/train/step_fault.h"

namespace msa::train {
namespace {

constexpr const char* kTermNames[samples::kNumLossTerms] = {"language", "ids", "reconstruction",
                                                            "answer", "documents"};

constexpr uint64_t kOfDropout = 0xD209;  // random numbers for it are no others

/// Scalars of a step in one tensor, so that the device is waited for once.
std::vector<double> read(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> flat;
  for (const at::Tensor& tensor : tensors) {
    flat.push_back(tensor.detach().to(at::kDouble).flatten());
  }
  const auto all = at::cat(flat).cpu();
  const auto* values = all.const_data_ptr<double>();
  return {values, values + all.size(0)};
}

}  // namespace

ForwardOptions phase_options(const PhaseConfig& phase, const Parameters& parameters,
                             at::ScalarType type) {
  ForwardOptions options;
  options.type = type;
  options.dropout.share = phase.dropout;
  const LossWeights& losses = phase.losses;
  const auto weight = [&](samples::LossTerm term) -> double& {
    return options.weights.term[static_cast<size_t>(term)];
  };
  weight(samples::LossTerm::kLanguage) = losses.language;
  weight(samples::LossTerm::kIds) = losses.ids;
  weight(samples::LossTerm::kReconstruction) = losses.reconstruction;
  weight(samples::LossTerm::kAnswer) = losses.answer;
  weight(samples::LossTerm::kDocuments) = losses.documents;
  options.weights.auxiliary = losses.auxiliary;

  const model::ModelConfig& model = parameters.config();
  options.routing.top_k = phase.top_k > 0 ? phase.top_k : model.msa.top_k;
  options.routing.forces_gold = phase.force_gold;
  options.routing.num_negatives = phase.auxiliary.negatives;
  AuxiliaryLossOptions& loss = options.routing.loss;
  loss.method = phase.auxiliary.method;
  loss.temperature = parameters.find("temperature");
  if (loss.temperature.defined() && !phase.auxiliary.learns_temperature) {
    loss.temperature = loss.temperature.detach();
  }
  loss.bias = parameters.find("b");
  return options;
}

StepFlopsOptions flops_options(const PhaseConfig& phase, const ForwardOptions& options) {
  return {.weights = options.weights,
          .top_k = options.routing.top_k,
          .routers_alone = phase.train == Trained::kRouters};
}

PreparedStep prepare_step(const model::ModelConfig& config, samples::Batch batch,
                          const ForwardOptions& options, const StepFlopsOptions& flops,
                          at::Device device) {
  check(batch, config.vocab_size);
  PreparedStep prepared{.batch = std::move(batch), .totals = {}, .input = {}, .flops = {}};
  prepared.totals.add(prepared.batch);
  prepared.input =
      step_input(prepared.batch, config.msa.chunk_tokens, options.weights, prepared.totals, device);
  prepared.flops = step_flops(config, prepared.batch, flops);
  return prepared;
}

StepResult take_step(const LayerMath& math, Parameters& parameters, Optimizer& optimizer,
                     const PreparedStep& prepared, ForwardOptions options, const StepRule& rule,
                     const std::function<void()>& meanwhile) {
  const auto& [batch, totals, input, flops] = prepared;
  options.totals = totals;
  options.dropout.seed =
      samples::Random(rule.seed, {kOfDropout, static_cast<uint64_t>(rule.step)}).next();
  const ModelTensors tensors = gather_tensors(
      math.config(), [&](const std::string& name) { return parameters.find(name); }, options.type);
  ActivationWatch watch;
  options.on_border = [&watch, told = options.on_border](const LayerBorder& border,
                                                         const at::Tensor& tensor) {
    if (told) told(border, tensor);
    watch.see(border, tensor);
  };
  // Before the step, when they are read: what a fault of the memory leaves shows here alone.
  const at::Tensor has_good_state =
      all_finite(parameters.all()).logical_and(all_finite(optimizer.state()));
  const StepLosses losses = forward(math, tensors, input, options);
  losses.loss.backward();
  const at::Tensor is_good = (losses.loss.detach() <= rule.limits.loss)
                                 .logical_and(watch.all_finite())
                                 .logical_and(has_good_state);
  const auto [norm, is_taken] = optimizer.step(rule.rate, is_good, rule.limits.gradient_norm);

  if (meanwhile) meanwhile();
  const auto values = read({losses.loss, norm, is_taken, losses.terms, losses.auxiliary.mean(),
                            losses.first_hits.mean(), losses.selected_hits.mean()});
  StepResult result;
  result.outcome = {
      .step = rule.step, .loss = values[0], .gradient_norm = values[1], .is_taken = values[2] != 0};
  result.num_tokens = batch.documents.num_tokens() + batch.sequences.num_tokens();
  result.losses.emplace_back("total", values[0]);
  for (size_t term = 0; term < samples::kNumLossTerms; ++term) {
    if (options.weights.term[term] > 0 && options.totals.weight[term] > 0) {
      result.losses.emplace_back(kTermNames[term], values[3 + term]);
    }
  }
  const size_t rest = 3 + samples::kNumLossTerms;
  if (options.totals.num_routed > 0) {
    const auto routed = static_cast<double>(options.totals.num_routed);
    if (options.weights.auxiliary > 0) result.losses.emplace_back("auxiliary", values[rest]);
    result.routing.emplace_back("recall_1", values[rest + 1] / routed);
    result.routing.emplace_back("recall_" + std::to_string(options.routing.top_k),
                                values[rest + 2] / routed);
  }
  if (!result.outcome.is_taken) {
    StepFault fault =
        find_fault(parameters.all(), optimizer.state(), watch.first_bad(batch, input));
    if (fault.what.empty() && !(values[1] <= rule.limits.gradient_norm)) {
      fault.tensors = {longest_gradient(parameters.all())};
    }
    result.outcome.fault = std::move(fault.what);
    result.bad_tensors = std::move(fault.tensors);
    result.bad_samples = std::move(fault.samples);
  } else if (options.routing.loss.temperature.defined()) {
    parameters.clamp_temperature();
  }
  optimizer.clear_gradients();
  return result;
}

}  // namespace msa::train
