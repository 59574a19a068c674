#pragma once
// Mean over the rows of each chunk for training on a GPU, and its gradient: bfloat16 in and out,
// sums in float32 in the rows' order. Every pointer is to device memory, 16-byte aligned; strides
// and F are multiples of 8. Each call queues its work and returns; of no chunks nothing is
// launched. It throws Error(kInvalidArgument) for other shapes, Error(kDevice) if the work cannot
// be launched.

#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

constexpr int kMostPooledPlanes = 4;

/// Rows of one kind: keys, values or routing keys.
struct PooledRows {
  const BFloat16* x = nullptr;  // [N, x_stride], the first F numbers of a row count
  int64_t x_stride = 0;         // numbers
  BFloat16* pooled = nullptr;   // [C, F], written
};

/// pooled[c] = mean of x[n] over the rows n of chunk c; zeros for a chunk without rows.
struct PoolRowsParams {
  PooledRows plane[kMostPooledPlanes] = {};
  int num_planes = 0;                      // with the same chunks
  const int32_t* chunk_offsets = nullptr;  // [C + 1]: chunk c has rows offsets[c] .. offsets[c + 1]
  int64_t num_chunks = 0;                  // C
  int64_t width = 0;                       // F
};
void pool_rows_cuda(const PoolRowsParams& params, CudaStream stream);

struct PooledRowsGradient {
  const BFloat16* pooled_gradient = nullptr;  // [C, F]
  BFloat16* x_gradient = nullptr;             // [N, x_stride], F numbers of every chunk's rows
  int64_t x_stride = 0;                       // numbers
  bool adds = false;  // to what x_gradient has; else it is written without being read
};

/// x_gradient[n] = pooled_gradient[c] / rows of c, for the rows n of chunk c.
struct PoolRowsGradientParams {
  PooledRowsGradient plane[kMostPooledPlanes] = {};
  int num_planes = 0;
  const int32_t* chunk_offsets = nullptr;  // [C + 1]
  int64_t num_chunks = 0;                  // C
  int64_t width = 0;                       // F
};
void pool_rows_gradient_cuda(const PoolRowsGradientParams& params, CudaStream stream);

}  // namespace msa::kernels
