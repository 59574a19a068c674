#include "msa/train/layer_math.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include "msa/autograd/attention_heads.h"
#include "msa/autograd/linear.h"
#include "msa/autograd/rms_norm.h"
#include "msa/autograd/swiglu.h"
#include "msa/autograd/unit_heads.h"
#include "msa/model/layer.h"

namespace msa::train {

Residual joined(const std::vector<Residual>& parts) {
  if (parts.size() == 1) return parts[0];
  std::vector<at::Tensor> x;
  std::vector<at::Tensor> addends;
  for (const Residual& part : parts) {
    x.push_back(part.x);
    if (part.addend.defined()) addends.push_back(part.addend);
  }
  return {.x = at::cat(x), .addend = addends.empty() ? at::Tensor() : at::cat(addends)};
}

LayerMath::LayerMath(const model::ModelConfig& config, int64_t max_positions, at::Device device)
    : config_(config) {
  const auto angles = model::rope_angles(config, at::arange(max_positions, at::kLong));
  cosine_ = angles.cosine.to(device);
  sine_ = angles.sine.to(device);
}

Angles LayerMath::angles(const at::Tensor& positions) const {
  return {cosine_.index_select(0, positions), sine_.index_select(0, positions)};
}

Projections LayerMath::project(const LayerTensors& layer, const Residual& residual,
                               const Angles& angles, bool wants_q) const {
  Projections out;
  const auto rows =
      autograd::add_rms_norm(residual.x, residual.addend, layer.input_norm, config_.rms_eps);
  out.x = rows.sum;
  out.normed = rows.normed;
  const int64_t num_heads = wants_q ? config_.num_heads : 0;
  const auto joint =
      autograd::linear(out.normed, wants_q ? layer.attention : layer.attention.without_first());
  const auto heads = autograd::attention_heads(
      joint,
      {.num_heads = num_heads, .num_kv_heads = config_.num_kv_heads, .head_dim = config_.head_dim},
      layer.q_norm, layer.k_norm, config_.rms_eps, angles.cosine, angles.sine);
  out.q = heads.q;
  out.k = heads.k;
  out.v = heads.v;
  return out;
}

Residual LayerMath::add_attention(const LayerTensors& layer, const at::Tensor& x,
                                  const at::Tensor& attention, autograd::Purpose purpose) const {
  return {.x = x, .addend = autograd::linear(attention.flatten(1), layer.output, purpose)};
}

Residual LayerMath::add_mlp(const LayerTensors& layer, const Residual& residual,
                            autograd::Purpose purpose) const {
  const auto rows =
      autograd::add_rms_norm(residual.x, residual.addend, layer.post_norm, config_.rms_eps);
  const auto gated = autograd::swiglu(autograd::linear(rows.normed, layer.gate_up));
  return {.x = rows.sum, .addend = autograd::linear(gated, layer.down, purpose)};
}

at::Tensor LayerMath::norm(const Residual& residual, const at::Tensor& weight) const {
  return autograd::add_rms_norm(residual.x, residual.addend, weight, config_.rms_eps).normed;
}

at::Tensor LayerMath::routing_keys(const at::Tensor& pooled) const {
  if (!config_.msa.normalises_routing) return pooled;
  const auto heads = pooled.unflatten(1, {config_.num_kv_heads, config_.head_dim});
  return autograd::unit_heads(heads).flatten(1);
}

at::Tensor LayerMath::fold_queries(const at::Tensor& queries) const {
  auto heads = queries.unflatten(1, {config_.num_heads, config_.head_dim});
  if (config_.msa.normalises_routing) heads = autograd::unit_heads(heads);
  const int64_t group = config_.num_heads / config_.num_kv_heads;
  const auto sum = heads.unflatten(1, {config_.num_kv_heads, group}).sum(2);
  const double scale = static_cast<double>(config_.msa.rule.scale);
  return (sum * (scale / static_cast<double>(config_.num_heads))).flatten(1);
}

}  // namespace msa::train
