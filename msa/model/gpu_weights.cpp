#include "msa/model/gpu_weights.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "msa/model/layer.h"

namespace msa::model {
namespace {

constexpr int64_t kLeastPositions = 32768;
constexpr int64_t kMostPositions = 1 << 20;

template <typename Value>
kernels::GpuArray<Value> put(const kernels::Gpu& gpu, const at::Tensor& tensor) {
  constexpr auto kType = sizeof(Value) == 2 ? at::kBFloat16 : at::kFloat;
  const at::Tensor rounded = tensor.to(kType).contiguous();
  const auto* values = static_cast<const Value*>(rounded.data_ptr());
  return {gpu, std::span(values, static_cast<size_t>(rounded.numel()))};
}

GpuLayerWeights put_layer(const kernels::Gpu& gpu, const LayerWeights& layer) {
  return {.input_norm = put<float>(gpu, layer.input_norm),
          .post_norm = put<float>(gpu, layer.post_norm),
          .q_norm = put<float>(gpu, layer.q_norm),
          .k_norm = put<float>(gpu, layer.k_norm),
          .input = put<BFloat16>(gpu, layer.input),
          .output = put<BFloat16>(gpu, layer.output),
          .gate_up = put<BFloat16>(gpu, layer.gate_up),
          .down = put<BFloat16>(gpu, layer.down),
          .router_key_rows = layer.router_key_rows,
          .router_query_rows = layer.router_query_rows};
}

}  // namespace

GpuWeights::GpuWeights(const kernels::Gpu& gpu, const ModelConfig& config, const Weights& weights)
    : embedding(put<BFloat16>(gpu, weights.embedding)),
      final_norm(put<float>(gpu, weights.final_norm)) {
  const c10::InferenceMode guard;
  if (!config.ties_embeddings) own_head = put<BFloat16>(gpu, weights.step.head);
  for (const LayerWeights& layer : weights.step.layers) layers.push_back(put_layer(gpu, layer));
  num_positions = kLeastPositions;
  if (json_has(config.raw, "max_position_embeddings")) {
    num_positions = std::max(num_positions, json_integer(config.raw, "max_position_embeddings", 1,
                                                         kMostPositions, "config.json"));
  }
  const RopeAngles angles = rope_angles(config, at::arange(num_positions, at::kLong));
  cosine = put<float>(gpu, angles.cosine);
  sine = put<float>(gpu, angles.sine);
}

}  // namespace msa::model
