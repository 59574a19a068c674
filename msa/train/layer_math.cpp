#include "msa/train/layer_math.h"

#include <ATen/ATen.h>

#include "msa/autograd/linear.h"
#include "msa/autograd/norm_rope.h"
#include "msa/autograd/rms_norm.h"
#include "msa/autograd/swiglu.h"
#include "msa/autograd/unit_heads.h"
#include "msa/model/layer.h"

namespace msa::train {

LayerMath::LayerMath(const model::ModelConfig& config, int64_t max_positions, at::Device device)
    : config_(config) {
  const auto angles = model::rope_angles(config, at::arange(max_positions, at::kLong));
  cosine_ = angles.cosine.to(device);
  sine_ = angles.sine.to(device);
}

Angles LayerMath::angles(const at::Tensor& positions) const {
  return {cosine_.index_select(0, positions), sine_.index_select(0, positions)};
}

Projections LayerMath::project(const LayerTensors& layer, const at::Tensor& x, const Angles& angles,
                               bool wants_q) const {
  Projections out;
  out.normed = norm(x, layer.input_norm);
  const auto key_value = autograd::linear(out.normed, layer.key_value).chunk(2, 1);
  out.k = heads(key_value[0], config_.num_kv_heads, layer.k_norm, angles);
  out.v = key_value[1].unflatten(1, {config_.num_kv_heads, config_.head_dim});
  if (wants_q) {
    out.q =
        heads(autograd::linear(out.normed, layer.query), config_.num_heads, layer.q_norm, angles);
  }
  return out;
}

at::Tensor LayerMath::finish(const LayerTensors& layer, const at::Tensor& x,
                             const at::Tensor& attention) const {
  const auto middle = x + autograd::linear(attention.flatten(1), layer.output);
  const auto gated =
      autograd::swiglu(autograd::linear(norm(middle, layer.post_norm), layer.gate_up));
  return middle + autograd::linear(gated, layer.down);
}

at::Tensor LayerMath::norm(const at::Tensor& x, const at::Tensor& weight) const {
  return autograd::rms_norm(x, weight, config_.rms_eps);
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

/// rows [T, num_heads * D] as heads, normalised and rotated.
at::Tensor LayerMath::heads(const at::Tensor& rows, int64_t num_heads, const at::Tensor& weight,
                            const Angles& angles) const {
  return autograd::norm_rope(rows.unflatten(1, {num_heads, config_.head_dim}), weight,
                             config_.rms_eps, angles.cosine, angles.sine);
}

}  // namespace msa::train
