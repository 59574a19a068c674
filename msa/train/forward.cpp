#include "msa/train/forward.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <memory>
#include <vector>

#include "msa/autograd/token_loss.h"
#include "msa/base/error.h"
#include "msa/train/sequence_layers.h"

namespace msa::train {
namespace {

constexpr int64_t kRowsOfLogits = 1024;

void check_rule(const model::ModelConfig& config) {
  MSA_CHECK(config.has_memory(), "a model without routers cannot be asked over a memory");
  const memory::RoutingRule& rule = config.msa.rule;
  MSA_CHECK(rule.is_folded() && rule.query == memory::QueryReduce::kMax,
            "training knows head_reduce_method mean, query_reduce_method max and "
            "chunk_reduce_method max, and no others");
}

/// Runs the sequences through the layers and gathers what routing says on the way.
class SequencePass {
 public:
  SequencePass(const LayerMath& math, const ModelTensors& tensors, const StepInput& input,
               const BatchMemory& memory, const ForwardOptions& options)
      : math_(math),
        config_(math.config()),
        tensors_(tensors),
        input_(input),
        memory_(memory),
        options_(options),
        layers_(math, input, options.routing, options.weights.auxiliary > 0) {
    for (const int64_t layer : config_.msa.router_layers) num_taught_ += layers_.is_taught(layer);
    const auto num_slots = static_cast<int64_t>(config_.msa.router_layers.size());
    const auto zeros = at::zeros(
        {3, num_slots}, tensors.embedding.options().dtype(at::kFloat).requires_grad(false));
    losses_.auxiliary = zeros[0];
    losses_.first_hits = zeros[1];
    losses_.selected_hits = zeros[2];
    losses_.terms = at::zeros({samples::kNumLossTerms}, zeros.options());
    losses_.loss = at::zeros({}, tensors.embedding.options().requires_grad(false));
  }

  StepLosses run() {
    Residual residual;
    residual.x = at::embedding(tensors_.embedding, input_.sequences.tokens).to(options_.type);
    tell({.tensor = "embedding", .rows = RowsOf::kSequenceTokens}, residual.x);
    for (int64_t i = 0; i <= layers_.last(); ++i) residual = run_one(i, residual);
    if (input_.target_tokens.size(0) > 0) learn_tokens(residual);
    if (losses_.scores.defined()) {
      losses_.scores /= static_cast<double>(config_.msa.router_layers.size());
    }
    tell({.tensor = "loss"}, losses_.loss);
    return losses_;
  }

 private:
  void tell(const LayerBorder& border, const at::Tensor& tensor) const {
    if (options_.on_border) options_.on_border(border, tensor);
  }

  /// The stream behind layer i.
  Residual run_one(int64_t i, const Residual& residual) {
    LayerInput in{
        .residual = residual, .weights = tensors_.layers[static_cast<size_t>(i)], .more = {}};
    const int64_t slot = config_.router_slot(i);
    if (layers_.routes(i)) {
      const auto place = static_cast<size_t>(slot);
      in.more = {memory_.key[place], memory_.value[place], memory_.routing_key[place],
                 options_.routing.loss.temperature, options_.routing.loss.bias};
    }
    // Behind the forward pass the layer's function alone holds it.
    const auto choice = std::make_shared<RouterChoice>();
    const LayerOutput out = run_layer(
        math_,
        [layers = layers_, i, choice](const LayerInput& input, autograd::Purpose purpose) {
          return layers.attention(i, input, purpose, *choice);
        },
        in, options_.dropout.run(options_.recomputes_layers, i, 0));
    const RowsOf rows = i == layers_.last() ? RowsOf::kSequenceTargets : RowsOf::kSequenceTokens;
    tell({.tensor = "residual stream", .layer = i, .rows = rows}, out.residual.x);
    tell({.tensor = "output of the mlp", .layer = i, .rows = rows}, out.residual.addend);
    if (choice->routing) add_routing(slot, *choice->routing, out);
    return out.residual;
  }

  void add_routing(int64_t slot, const Routing& routing, const LayerOutput& out) {
    losses_.first_hits[slot].copy_(routing.first_hits);
    losses_.selected_hits[slot].copy_(routing.selected_hits);
    if (!out.more.empty()) {
      const int64_t layer = config_.msa.router_layers[static_cast<size_t>(slot)];
      tell({.tensor = "routing loss", .layer = layer}, out.more[0]);
      const auto mean = out.more[0] / static_cast<double>(options_.totals.num_routed);
      losses_.auxiliary[slot].copy_(mean.detach());
      losses_.loss =
          losses_.loss + mean * (options_.weights.auxiliary / static_cast<double>(num_taught_));
    }
    if (options_.keeps_scores) {
      losses_.scores = losses_.scores.defined() ? losses_.scores + routing.scores : routing.scores;
    }
  }

  /// `sequences`: behind the last layer.
  void learn_tokens(const Residual& sequences) {
    std::vector<Residual> parts;
    if (memory_.learned.x.defined()) parts.push_back(memory_.learned);
    if (input_.target_rows.size(0) > 0) parts.push_back(sequences);
    const auto normed = math_.norm(joined(parts), tensors_.final_norm);
    tell({.tensor = "final norm", .rows = RowsOf::kTargets}, normed);
    const auto learned =
        autograd::token_loss(normed, tensors_.head, input_.target_tokens, input_.target_weights);
    tell({.tensor = "token losses", .rows = RowsOf::kTargets}, learned.each.unsqueeze(1));
    losses_.loss = losses_.loss + learned.loss;
    if (options_.keeps_hits) losses_.hits = hits(normed);
    losses_.terms = at::zeros({samples::kNumLossTerms}, learned.each.options())
                        .index_add(0, input_.target_terms, learned.each * input_.target_shares);
  }

  /// In float32, some rows at a time: logits of all would take much room.
  at::Tensor hits(const at::Tensor& normed) const {
    const c10::NoGradGuard no_gradients;
    const auto type = options_.type == at::kDouble ? at::kDouble : at::kFloat;
    const auto head = tensors_.head.to(type).t();
    std::vector<at::Tensor> found;
    for (const at::Tensor& rows : normed.split(kRowsOfLogits)) {
      found.push_back(at::matmul(rows.to(type), head).argmax(1));
    }
    return at::cat(found) == input_.target_tokens;
  }

  const LayerMath& math_;
  const model::ModelConfig& config_;
  const ModelTensors& tensors_;
  const StepInput& input_;
  const BatchMemory& memory_;
  const ForwardOptions& options_;
  SequenceLayers layers_;
  int64_t num_taught_ = 0;  // router layers with an auxiliary loss
  StepLosses losses_;
};

}  // namespace

StepLosses forward(const LayerMath& math, const ModelTensors& tensors, const StepInput& input,
                   const ForwardOptions& options) {
  BatchMemory memory;
  if (input.num_asking > 0 || input.num_document_targets() > 0) {
    check_rule(math.config());
    memory = encode_documents(math, tensors, input,
                              {.type = options.type,
                               .recomputes_layers = options.recomputes_layers,
                               .dropout = options.dropout,
                               .on_border = options.on_border});
  }
  return forward_over(math, tensors, input, memory, options);
}

StepLosses forward_over(const LayerMath& math, const ModelTensors& tensors, const StepInput& input,
                        const BatchMemory& memory, const ForwardOptions& options) {
  if (input.num_asking > 0) check_rule(math.config());
  return SequencePass(math, tensors, input, memory, options).run();
}

}  // namespace msa::train
