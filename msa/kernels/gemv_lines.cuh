#pragma once
// Rows of a matrix times a vector that lies in registers, 16 bytes of a row at a time.

#include "msa/base/bfloat16.h"
#include "msa/kernels/device_code.cuh"
#include "msa/kernels/row_numbers.cuh"

namespace msa::kernels {

/// Weights in 16 bytes.
template <typename Weight>
constexpr int kPieceColumns = 16 / static_cast<int>(sizeof(Weight));

/// Even columns add to sum.x, odd ones to sum.y.
__device__ inline void multiply_piece(const uint4& piece, const float (&x)[kPieceColumns<BFloat16>],
                                      float2& sum) {
  const uint32_t pairs[] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 weight = widen_pair(pairs[i]);
    sum.x += weight.x * x[2 * i];
    sum.y += weight.y * x[2 * i + 1];
  }
}

/// int8: a byte becomes the low bits of a float32 of 2^23, which is exact and twice as fast as a
/// conversion.
__device__ inline void multiply_piece(const uint4& piece, const float (&x)[kPieceColumns<int8_t>],
                                      float2& sum) {
  constexpr uint32_t kTwoTo23 = 0x4b000000;
  constexpr float kOffset = 0x1p23F + 128;
  const uint32_t words[] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t word = words[i] ^ 0x80808080U;  // from [-128, 127] to [0, 255]
    sum.x += (__uint_as_float(__byte_perm(word, kTwoTo23, 0x7650)) - kOffset) * x[4 * i];
    sum.y += (__uint_as_float(__byte_perm(word, kTwoTo23, 0x7651)) - kOffset) * x[4 * i + 1];
    sum.x += (__uint_as_float(__byte_perm(word, kTwoTo23, 0x7652)) - kOffset) * x[4 * i + 2];
    sum.y += (__uint_as_float(__byte_perm(word, kTwoTo23, 0x7653)) - kOffset) * x[4 * i + 3];
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
