#pragma once
// The gradient of swiglu (elementwise.h) on a GPU.

#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

/// Needs nothing of the forward pass but its input. Every pointer is to device memory, 16-byte
/// aligned.
struct SwigluGradientParams {
  const BFloat16* gate_up = nullptr;       // [T, 2 * F]
  const BFloat16* out_gradient = nullptr;  // [T, F]
  BFloat16* gate_up_gradient = nullptr;    // [T, 2 * F], written; may be gate_up
  BFloat16* out = nullptr;  // [T, F], swiglu once more; may be out_gradient; null: not wanted
  int64_t num_tokens = 0;   // T
  int64_t dim = 0;          // F, a multiple of 8
};
/// Queues its work and returns; of no tokens nothing is launched. Throws Error(kInvalidArgument)
/// for other F or more than 2^34 numbers, Error(kDevice) if it cannot be launched.
void swiglu_gradient_cuda(const SwigluGradientParams& params, CudaStream stream);

}  // namespace msa::kernels
