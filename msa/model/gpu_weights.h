#pragma once
// The weights of a model in GPU memory: matrices in bfloat16, vectors and angles in float32.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/kernels/gpu_array.h"
#include "msa/model/config.h"
#include "msa/model/weights.h"

namespace msa::model {

/// As LayerWeights.
struct GpuLayerWeights {
  kernels::GpuArray<float> input_norm;
  kernels::GpuArray<float> post_norm;
  kernels::GpuArray<float> q_norm;
  kernels::GpuArray<float> k_norm;
  kernels::GpuArray<BFloat16> input;
  kernels::GpuArray<BFloat16> output;
  kernels::GpuArray<BFloat16> gate_up;
  kernels::GpuArray<BFloat16> down;
  int64_t router_key_rows = 0;
  int64_t router_query_rows = 0;
};

struct GpuWeights {
  /// Throws Error(kLimit) if the GPU has no room.
  GpuWeights(const kernels::Gpu& gpu, const ModelConfig& config, const Weights& weights);

  kernels::GpuArray<BFloat16> embedding;  // [V, E]
  kernels::GpuArray<float> final_norm;    // [E]
  kernels::GpuArray<BFloat16> own_head;   // [V, E]; empty where tied to the embedding
  std::vector<GpuLayerWeights> layers;
  kernels::GpuArray<float> cosine;  // [positions, D / 2]
  kernels::GpuArray<float> sine;    // [positions, D / 2]
  int64_t num_positions = 0;

  const BFloat16* head() const { return own_head.size() > 0 ? own_head.data() : embedding.data(); }
};

}  // namespace msa::model
