#pragma once
// One layer's attention of a decoding step on a GPU, from the joint projection to its output.

#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

/// RMS norm of every key and query head of the token, x / sqrt(mean of x^2 + eps) * weight, and
/// rotation of its two halves (a, b) by the angles of its position: (a cos - b sin, b cos + a sin).
/// The key and the value become row *num_rows of the cache. Then, over rows s <= *num_rows,
/// out[h] = sum of softmax_s(scale * q[h] . key[s][g(h)]) * value[s][g(h)], g(h) = h / (H / G).
/// Query, key and value are rounded to bfloat16.
struct StepAttentionParams {
  const float* joint = nullptr;       // [2 G + H, D]: key heads, value heads, query heads
  const float* q_norm = nullptr;      // [D] weights
  const float* k_norm = nullptr;      // [D]
  const float* cosine = nullptr;      // [positions, D / 2]
  const float* sine = nullptr;        // [positions, D / 2]
  const int32_t* position = nullptr;  // [1], row of the two tables
  BFloat16* key = nullptr;            // [capacity, G, D], 16-byte aligned; one row is written
  BFloat16* value = nullptr;          // [capacity, G, D], likewise
  const int32_t* num_rows = nullptr;  // [1], rows of the cache before this token; < capacity
  float* out = nullptr;               // [H, D], written
  int64_t num_heads = 0;              // H, a multiple of G
  int64_t num_kv_heads = 0;           // G <= 1024
  int64_t head_dim = 0;               // D, a multiple of 16 up to 128; best 64 and 128
  float scale = 1;                    // > 0
  float eps = 0;
};

/// Every pointer is to device memory. Queues one launch and returns; may be captured in a CUDA
/// graph and replayed after *position and *num_rows have changed. The same result on every call.
///
/// Launched as a dependent of the kernel before it (dependent_launch.cuh): of what it reads, that
/// kernel may write `joint` only. *position, *num_rows, the tables and the cache's rows must come
/// from work that had ended when that kernel was let go on: from further back, where that kernel
/// releases its dependents behind its own wait, as all kernels of this folder do.
/// Throws Error(kInvalidArgument) for shapes outside the ranges above, Error(kDevice) if it cannot
/// be launched.
void step_attention_cuda(const StepAttentionParams& params, CudaStream stream);

}  // namespace msa::kernels
