#pragma once
// Heads over their lengths for training on a GPU, and their gradient. Values are bfloat16, lengths
// float32. Every pointer is to device memory, 16-byte aligned; D is a multiple of 8 up to
// kLargestUnitHead. Each call queues its work and returns; of no heads nothing is launched. It
// throws Error(kInvalidArgument) for other D or more than 2^31 - 1 heads, Error(kDevice) if the
// work cannot be launched.

#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

constexpr int64_t kLargestUnitHead = 256;

/// out[n] = x[n] / max(|x[n]|, 1e-12)
struct UnitHeadsParams {
  const BFloat16* x = nullptr;  // [N, D]
  BFloat16* out = nullptr;      // [N, D], written; may be x
  int64_t num_heads = 0;        // N
  int64_t head_dim = 0;         // D
};
void unit_heads_cuda(const UnitHeadsParams& params, CudaStream stream);

/// A head that is shorter than 1e-12 has no direction: its gradient is zeros.
struct UnitHeadsGradientParams {
  const BFloat16* x = nullptr;             // [N, D]
  const BFloat16* out_gradient = nullptr;  // [N, D]
  BFloat16* x_gradient = nullptr;          // [N, D], written; may be x or out_gradient
  int64_t num_heads = 0;                   // N
  int64_t head_dim = 0;                    // D
};
void unit_heads_gradient_cuda(const UnitHeadsGradientParams& params, CudaStream stream);

}  // namespace msa::kernels
