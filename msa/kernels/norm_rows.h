#pragma once
// RMS norm of rows for training on a GPU: the residual is added on the way, and there are
// gradients. Values are bfloat16, weights, statistics and sums float32. Every pointer is to device
// memory, 16-byte aligned; E is a multiple of 8 up to kLongestLearnedRow. Each call queues its work
// and returns; it throws Error(kInvalidArgument) for other E, Error(kDevice) if the work cannot be
// launched. Results repeat bit for bit on every GPU.

#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

constexpr int64_t kLongestLearnedRow = 8192;

/// sum = x + addend, rounded; out[t] = sum[t] * inverse_root[t] * weight with
/// inverse_root[t] = 1 / sqrt(mean of sum[t]^2 + eps). Without `addend`, sum is x.
struct NormRowsParams {
  const BFloat16* x = nullptr;       // [T, E]
  const BFloat16* addend = nullptr;  // [T, E]; null: nothing is added
  BFloat16* sum = nullptr;           // [T, E], written if something is added; may be x or addend
  const float* weight = nullptr;     // [E]
  BFloat16* out = nullptr;           // [T, E], written
  float* inverse_root = nullptr;     // [T], written
  int64_t num_tokens = 0;            // T
  int64_t dim = 0;                   // E
  float eps = 0;
};
/// Of no tokens nothing is launched.
void norm_rows_cuda(const NormRowsParams& params, CudaStream stream);

struct NormRowsGradientParams {
  const BFloat16* x = nullptr;             // [T, E], what was normed: `sum` if there was an addend
  const float* weight = nullptr;           // [E]
  const float* inverse_root = nullptr;     // [T], as written by norm_rows
  const BFloat16* out_gradient = nullptr;  // [T, E]
  const BFloat16* addend = nullptr;        // [T, E], x's gradient from elsewhere; null: none
  BFloat16* x_gradient = nullptr;  // [T, E], written, addend included; may be any of the other rows
  float* weight_gradient = nullptr;  // [E], written
  void* workspace = nullptr;         // norm_rows_gradient_workspace_bytes(E)
  int64_t num_tokens = 0;            // T
  int64_t dim = 0;                   // E
};
/// Of no tokens the weight's gradient is zeros.
void norm_rows_gradient_cuda(const NormRowsGradientParams& params, CudaStream stream);
int64_t norm_rows_gradient_workspace_bytes(int64_t dim);

}  // namespace msa::kernels
