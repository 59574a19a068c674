#pragma once
// Sums of rows that were read from one place, for the gradient of a gather on a GPU: in a fixed
// order, where adding at their place would give other bits every time.

#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

/// sum[n] = sum of x[order[i]] over i in [offsets[n], offsets[n + 1]); zeros where there are none.
/// With `order` the places of a gather's rows sorted by what they read, x the gradients of what it
/// gave. Sums are float32. Every pointer is to device memory, 16-byte aligned.
struct SumRowsParams {
  const BFloat16* x = nullptr;       // [M, F]
  const int64_t* order = nullptr;    // in [0, M)
  const int32_t* offsets = nullptr;  // [N + 1], never falling
  BFloat16* sum = nullptr;           // [N, F], written
  int64_t num_sums = 0;              // N
  int64_t width = 0;                 // F, a multiple of 8
};
/// Queues its work and returns; of no sums nothing is launched. Throws Error(kInvalidArgument) for
/// other F, Error(kDevice) if it cannot be launched.
void sum_rows_cuda(const SumRowsParams& params, CudaStream stream);

}  // namespace msa::kernels
