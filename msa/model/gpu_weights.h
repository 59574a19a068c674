#pragma once
// The weights of a model in GPU memory: matrices in bfloat16, for decoding in small integers as
// well if that is asked for, vectors and angles in float32.

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/kernels/gpu_array.h"
#include "msa/kernels/weight_rows.h"
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

  // Quantised for decoding; empty where it reads bfloat16.
  struct Step {
    kernels::GpuArray<std::byte> input;  // [k v q], E columns
    kernels::GpuArray<std::byte> output;
    kernels::GpuArray<std::byte> gate_up;
    kernels::GpuArray<std::byte> down;
  } step;
};

/// Documents, questions and what is appended to them, unless it is a single token, meet the
/// bfloat16 matrices: a bank and the first routing of a question do not depend on step_type.
struct GpuWeights {
  /// `type` is of what decoding reads. Throws Error(kLimit) if the GPU has no room,
  /// Error(kDevice) for a shape whose rows cannot be quantised.
  GpuWeights(const kernels::Gpu& gpu, const ModelConfig& config, const Weights& weights,
             kernels::WeightType type);

  kernels::GpuArray<BFloat16> embedding;  // [V, E]
  kernels::GpuArray<float> final_norm;    // [E]
  kernels::GpuArray<BFloat16> own_head;   // [V, E]; empty where tied to the embedding
  std::vector<GpuLayerWeights> layers;
  kernels::GpuArray<float> cosine;  // [positions, D / 2]
  kernels::GpuArray<float> sine;    // [positions, D / 2]
  int64_t num_positions = 0;

  kernels::WeightType step_type;
  kernels::GpuArray<std::byte> quantized_head;  // [V] rows of E; empty where it reads bfloat16

  const BFloat16* head() const { return own_head.size() > 0 ? own_head.data() : embedding.data(); }

  /// Rows of step_type, as a decoding step reads them.
  struct StepRows {
    const void* input;  // [k v q]
    const void* output;
    const void* gate_up;
    const void* down;
  };
  StepRows step_rows(int64_t layer) const;
  const void* step_head() const;
};

}  // namespace msa::model
