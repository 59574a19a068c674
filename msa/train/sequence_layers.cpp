#include "msa/train/sequence_layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include "msa/autograd/gather_rows.h"
#include "msa/autograd/linear.h"
#include "msa/autograd/packed_attention.h"

namespace msa::train {

SequenceLayers::SequenceLayers(const LayerMath& math, const StepInput& input,
                               const RoutingOptions& options, bool learns_routing)
    : math_(&math),
      input_(&input),
      options_(options),
      learns_routing_(learns_routing),
      last_(-1),
      angles_(math.angles(input.sequences.positions)),
      own_rows_(own_key_rows(input)) {
  if (learns_tokens()) {
    last_ = math.config().num_layers - 1;
  } else if (input.num_asking > 0) {
    last_ = math.config().msa.router_layers.back();
  }
}

bool SequenceLayers::routes(int64_t i) const {
  return input_->num_asking > 0 && math_->config().router_slot(i) >= 0;
}

LayerOutput SequenceLayers::attention(int64_t i, const LayerInput& in, autograd::Purpose purpose,
                                      RouterChoice& choice) const {
  const Projections rows = math_->project(in.weights, in.residual, angles_);
  LayerOutput out;
  if (routes(i)) {
    const auto folded = math_->fold_queries(queries(in.weights, rows));
    const auto& keys = in.more[kRoutingKey];
    if (!choice.routing) {
      choice.routing = route(*input_, folded, keys, options_, learns_routing_ && is_taught(i));
      choice.seen = selected_key_rows(*input_, choice.routing->selected, keys.size(0));
    }
    if (const ScoredPairs& pairs = choice.routing->pairs; pairs.token.defined()) {
      out.more = {routing_loss(folded, keys, pairs,
                               {options_.loss.method, in.more[kTemperature], in.more[kBias]})};
    }
  }
  if (i == last_ && !learns_tokens()) return out;  // nobody reads what is attended
  auto attended = attend(i, in, rows, choice);
  auto x = rows.x;
  if (i == last_) {  // above its attention only learned rows are read
    x = autograd::gather_rows(x, input_->target_rows);
    attended = autograd::gather_rows(attended.flatten(1), input_->target_rows);
  }
  out.residual = math_->add_attention(in.weights, x, attended, purpose);
  return out;
}

/// Routing queries of all heads [Q, H * D].
at::Tensor SequenceLayers::queries(const LayerTensors& weights, const Projections& rows) const {
  const auto asking = [&](const at::Tensor& all) {
    return autograd::gather_rows(all, input_->query_rows);
  };
  return weights.has_own_router() ? autograd::linear(asking(rows.normed), weights.router_query)
                                  : asking(rows.q.flatten(1));
}

at::Tensor SequenceLayers::attend(int64_t i, const LayerInput& in, const Projections& rows,
                                  const RouterChoice& choice) const {
  const model::ModelConfig& config = math_->config();
  auto key = rows.k.flatten(1);
  auto value = rows.v.flatten(1);
  if (routes(i)) {
    key = at::cat({key, in.more[kKey]});
    value = at::cat({value, in.more[kValue]});
  }
  const KeyRows& seen = routes(i) ? choice.seen : own_rows_;
  const auto heads = [&](const at::Tensor& table) {
    const auto all = seen.is_table ? table : autograd::gather_rows(table, seen.rows);
    return all.unflatten(1, {config.num_kv_heads, config.head_dim});
  };
  return autograd::packed_attention(rows.q, heads(key), heads(value), input_->sequences.offsets,
                                    seen.offsets, input_->sequences.longest, seen.longest,
                                    config.attention_scale());
}

}  // namespace msa::train
