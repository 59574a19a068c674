#pragma once
// Whole rows on a GPU: what stands between the matrix products of a layer. Every pointer is to
// device memory, 16-byte aligned; a row is a multiple of 8 numbers. Each call queues its work and
// returns; it throws Error(kInvalidArgument) for rows outside these ranges, Error(kDevice) if the
// work cannot be launched. Of no tokens nothing is launched.

#include <cstdint>

#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/elementwise.h"
#include "msa/kernels/number_type.h"

namespace msa::kernels {

constexpr int64_t kLongestNormedRow = 16384;

/// x[t] = embedding[token[t]]
struct EmbedRowsParams {
  const void* embedding = nullptr;          // [V, E] of type
  NumberType type = NumberType::kBFloat16;  // or kFloat32
  const int32_t* token = nullptr;           // [T], in [0, V)
  float* x = nullptr;                       // [T, E], written
  int64_t num_tokens = 0;                   // T
  int64_t dim = 0;                          // E
};
void embed_rows_cuda(const EmbedRowsParams& params, CudaStream stream);

/// Rows [0, num_tokens) of rms_norm; E in [8, kLongestNormedRow]. Repeats bit for bit; sums its
/// squares in another order than the CPU.
void rms_norm_cuda(const RmsNormParams& params, int64_t num_tokens, CudaStream stream);

/// Rows [0, num_tokens) of swiglu.
void swiglu_cuda(const SwigluParams& params, int64_t num_tokens, CudaStream stream);

}  // namespace msa::kernels
