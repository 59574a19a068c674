#pragma once
// Rows of bfloat16 times a vector that lies in registers, 16 bytes of a row at a time.

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/row_numbers.cuh"

namespace msa::kernels {

/// Even columns add to sum.x, odd ones to sum.y.
__device__ inline void multiply_piece(const uint4& piece, const float (&x)[kEight], float2& sum) {
  const uint32_t pairs[] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 weight = widen_pair(pairs[i]);
    sum.x += weight.x * x[2 * i];
    sum.y += weight.y * x[2 * i + 1];
  }
}

/// Sums of kCount values over the warp. Lane l returns that of value l / (32 / kCount).
template <int kCount>
__device__ float warp_sums(float (&value)[kCount]) {
  const unsigned lane = threadIdx.x % kWarpThreads;
  int step = kWarpThreads / 2;
#pragma unroll
  for (int left = kCount; left > 1; left /= 2, step /= 2) {
    const bool is_upper = (lane & static_cast<unsigned>(step)) != 0;
#pragma unroll
    for (int i = 0; i < left / 2; ++i) {
      const float given = is_upper ? value[i] : value[i + left / 2];
      const float kept = is_upper ? value[i + left / 2] : value[i];
      value[i] = kept + __shfl_xor_sync(kAllLanes, given, step);
    }
  }
  for (; step > 0; step /= 2) value[0] += __shfl_xor_sync(kAllLanes, value[0], step);
  return value[0];
}

}  // namespace msa::kernels
