#include "msa/model/gpu_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <algorithm>

#include "msa/base/error.h"
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
          .router_query_rows = layer.router_query_rows,
          .step = {}};
}

/// Rows [M, K] for decoding, queued on the default stream.
kernels::GpuArray<std::byte> quantized(const kernels::Gpu& gpu, const BFloat16* weight,
                                       kernels::WeightType type, int64_t num_rows,
                                       int64_t num_columns) {
  kernels::GpuArray<std::byte> rows(gpu,
                                    num_rows * kernels::weight_layout(type, num_columns).row_bytes);
  gpu.library().quantize_weights({.weight = weight,
                                  .rows = rows.data(),
                                  .type = type,
                                  .num_rows = num_rows,
                                  .num_columns = num_columns},
                                 nullptr);
  return rows;
}

void quantize(const kernels::Gpu& gpu, const ModelConfig& config, kernels::WeightType type,
              GpuLayerWeights& layer) {
  const int64_t embed = config.embed_dim;
  const int64_t q = config.num_heads * config.head_dim;
  const int64_t kv = config.num_kv_heads * config.head_dim;
  layer.step.input =
      quantized(gpu, layer.input.data() + layer.router_key_rows * embed, type, 2 * kv + q, embed);
  layer.step.output = quantized(gpu, layer.output.data(), type, embed, q);
  layer.step.gate_up = quantized(gpu, layer.gate_up.data(), type, 2 * config.ffn_dim, embed);
  layer.step.down = quantized(gpu, layer.down.data(), type, embed, config.ffn_dim);
}

void expect_quantizable(const ModelConfig& config, kernels::WeightType type) {
  const int64_t step = kernels::weight_column_step(type);
  const int64_t q = config.num_heads * config.head_dim;
  if (config.embed_dim % step != 0 || config.ffn_dim % step != 0 || q % step != 0) {
    throw Error(ErrorCode::kDevice, kernels::name_of(type),
                " weights need sizes that are multiples of ", step, ", got ", config.embed_dim,
                ", ", config.ffn_dim, " and ", q);
  }
}

}  // namespace

GpuWeights::GpuWeights(const kernels::Gpu& gpu, const ModelConfig& config, const Weights& weights,
                       kernels::WeightType type)
    : embedding(put<BFloat16>(gpu, weights.embedding)),
      final_norm(put<float>(gpu, weights.final_norm)),
      step_type(type) {
  const c10::InferenceMode guard;
  const bool is_quantized = step_type != kernels::WeightType::kBFloat16;
  if (is_quantized) expect_quantizable(config, step_type);
  if (!config.ties_embeddings) own_head = put<BFloat16>(gpu, weights.step.head);
  for (const LayerWeights& layer : weights.step.layers) {
    layers.push_back(put_layer(gpu, layer));
    if (is_quantized) quantize(gpu, config, step_type, layers.back());
  }
  if (is_quantized) {
    quantized_head = quantized(gpu, head(), step_type, config.vocab_size, config.embed_dim);
    gpu.library().synchronize();
  }
  num_positions = kLeastPositions;
  if (json_has(config.raw, "max_position_embeddings")) {
    num_positions = std::max(num_positions, json_integer(config.raw, "max_position_embeddings", 1,
                                                         kMostPositions, "config.json"));
  }
  const RopeAngles angles = rope_angles(config, at::arange(num_positions, at::kLong));
  cosine = put<float>(gpu, angles.cosine);
  sine = put<float>(gpu, angles.sine);
}

GpuWeights::StepRows GpuWeights::step_rows(int64_t layer) const {
  const GpuLayerWeights& w = layers[layer];
  if (step_type != kernels::WeightType::kBFloat16) {
    return {w.step.input.data(), w.step.output.data(), w.step.gate_up.data(), w.step.down.data()};
  }
  // A router layer's rows begin with the routing key's.
  const int64_t embed = final_norm.size();
  return {w.input.data() + w.router_key_rows * embed, w.output.data(), w.gate_up.data(),
          w.down.data()};
}

const void* GpuWeights::step_head() const {
  return step_type == kernels::WeightType::kBFloat16 ? static_cast<const void*>(head())
                                                     : quantized_head.data();
}

}  // namespace msa::model
