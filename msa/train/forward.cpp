#include "msa/train/forward.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "msa/autograd/gather_rows.h"
#include "msa/autograd/linear.h"
#include "msa/autograd/packed_attention.h"
#include "msa/autograd/token_loss.h"
#include "msa/base/error.h"
#include "msa/train/key_rows.h"

namespace msa::train {
namespace {

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
        own_rows_(own_key_rows(input)) {
    for (const int64_t layer : config_.msa.router_layers) num_taught_ += is_taught(layer);
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
    const auto angles = math_.angles(input_.sequences.positions);
    const bool learns_tokens = input_.target_rows.size(0) > 0;
    const int64_t last = learns_tokens ? config_.num_layers - 1 : last_router();
    Residual residual;
    residual.x = at::embedding(tensors_.embedding, input_.sequences.tokens).to(options_.type);
    for (int64_t i = 0; i <= last; ++i) {
      const LayerTensors& layer = tensors_.layers[static_cast<size_t>(i)];
      const Projections rows = math_.project(layer, residual, angles);
      if (i == last && !learns_tokens) {  // nobody reads what is attended
        choose(i, config_.router_slot(i), rows);
        break;
      }
      auto attention = attend(i, rows);
      auto x = rows.x;
      if (i == last) {  // above its attention only learned rows are read
        x = autograd::gather_rows(x, input_.target_rows);
        attention = autograd::gather_rows(attention.flatten(1), input_.target_rows);
      }
      residual = math_.finish(layer, x, attention);
    }
    if (learns_tokens) learn_tokens(residual);
    if (losses_.scores.defined()) {
      losses_.scores /= static_cast<double>(config_.msa.router_layers.size());
    }
    return losses_;
  }

 private:
  /// -1 where nobody is asked.
  int64_t last_router() const {
    return input_.num_asking > 0 ? config_.msa.router_layers.back() : -1;
  }
  bool is_taught(int64_t layer) const { return layer >= config_.num_layers / 2; }

  at::Tensor attend(int64_t i, const Projections& rows) {
    auto key = rows.k.flatten(1);
    auto value = rows.v.flatten(1);
    KeyRows seen = own_rows_;
    if (const int64_t slot = input_.num_asking > 0 ? config_.router_slot(i) : -1; slot >= 0) {
      const auto place = static_cast<size_t>(slot);
      seen = selected_key_rows(input_, choose(i, slot, rows), memory_.key[place].size(0));
      key = at::cat({key, memory_.key[place]});
      value = at::cat({value, memory_.value[place]});
    }
    const auto heads = [&](const at::Tensor& table) {
      const auto all = seen.is_table ? table : autograd::gather_rows(table, seen.rows);
      return all.unflatten(1, {config_.num_kv_heads, config_.head_dim});
    };
    return autograd::packed_attention(rows.q, heads(key), heads(value), input_.sequences.offsets,
                                      seen.offsets, input_.sequences.longest, seen.longest,
                                      config_.attention_scale());
  }

  /// The documents chosen in a router layer [A, K]; adds its loss.
  at::Tensor choose(int64_t i, int64_t slot, const Projections& rows) {
    const LayerTensors& layer = tensors_.layers[static_cast<size_t>(i)];
    const auto asking = [&](const at::Tensor& all) {
      return autograd::gather_rows(all, input_.query_rows);
    };
    const auto queries = layer.router_query.defined()
                             ? autograd::linear(asking(rows.normed), layer.router_query)
                             : asking(rows.q.flatten(1));
    const bool wants_loss = options_.weights.auxiliary > 0 && is_taught(i);
    const Routing routing =
        route(input_, math_.fold_queries(queries), memory_.routing_key[static_cast<size_t>(slot)],
              options_.routing, wants_loss);
    losses_.first_hits[slot].copy_(routing.first_hits);
    losses_.selected_hits[slot].copy_(routing.selected_hits);
    if (routing.loss.defined()) {
      const auto mean = routing.loss / static_cast<double>(options_.totals.num_routed);
      losses_.auxiliary[slot].copy_(mean.detach());
      losses_.loss =
          losses_.loss + mean * (options_.weights.auxiliary / static_cast<double>(num_taught_));
    }
    if (options_.keeps_scores) {
      losses_.scores = losses_.scores.defined() ? losses_.scores + routing.scores : routing.scores;
    }
    return routing.selected;
  }

  void learn_tokens(const Residual& residual) {
    const auto learned =
        autograd::token_loss(math_.norm(residual, tensors_.final_norm), tensors_.head,
                             input_.target_tokens, input_.target_weights);
    losses_.loss = losses_.loss + learned.loss;
    losses_.terms = at::zeros({samples::kNumLossTerms}, learned.each.options())
                        .index_add(0, input_.target_terms, learned.each * input_.target_shares);
  }

  const LayerMath& math_;
  const model::ModelConfig& config_;
  const ModelTensors& tensors_;
  const StepInput& input_;
  const BatchMemory& memory_;
  const ForwardOptions& options_;
  KeyRows own_rows_;
  int64_t num_taught_ = 0;  // router layers with an auxiliary loss
  StepLosses losses_;
};

}  // namespace

StepLosses forward(const LayerMath& math, const ModelTensors& tensors, const StepInput& input,
                   const ForwardOptions& options) {
  BatchMemory memory;
  if (input.num_asking > 0) memory = encode_documents(math, tensors, input, options.type);
  return forward_over(math, tensors, input, memory, options);
}

StepLosses forward_over(const LayerMath& math, const ModelTensors& tensors, const StepInput& input,
                        const BatchMemory& memory, const ForwardOptions& options) {
  if (input.num_asking > 0) check_rule(math.config());
  return SequencePass(math, tensors, input, memory, options).run();
}

}  // namespace msa::train
