#pragma once
// Eight neighbours of a row at a time, as float32.

#include <cuda_bf16.h>

#include "msa/base/bfloat16.h"
#include "msa/kernels/bfloat16_pairs.cuh"
#include "msa/kernels/device_code.cuh"

namespace msa::kernels {

constexpr int kEight = 8;

__device__ inline void widen_eight(const uint4& packed, float (&numbers)[kEight]) {
  const uint32_t pairs[] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = widen_pair(pairs[i]);
    numbers[2 * i] = pair.x;
    numbers[2 * i + 1] = pair.y;
  }
}

/// Reads what another kernel wrote, each number once: not through the L1 cache, which may hold what
/// stood there before.
__device__ inline void read_eight(const BFloat16* row, float (&numbers)[kEight]) {
  widen_eight(__ldcg(reinterpret_cast<const uint4*>(row)), numbers);
}

__device__ inline void read_eight(const float* row, float (&numbers)[kEight]) {
  const float4 low = __ldcg(reinterpret_cast<const float4*>(row));
  const float4 high = __ldcg(reinterpret_cast<const float4*>(row) + 1);
  const float values[] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int i = 0; i < kEight; ++i) numbers[i] = values[i];
}

/// Reads weights and tables, which never change and are read by many.
__device__ inline void read_constants(const float* row, float (&numbers)[kEight]) {
  const float4 low = __ldg(reinterpret_cast<const float4*>(row));
  const float4 high = __ldg(reinterpret_cast<const float4*>(row) + 1);
  const float values[] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int i = 0; i < kEight; ++i) numbers[i] = values[i];
}

__device__ inline uint4 narrow_eight(const float (&numbers)[kEight]) {
  return {narrow_pair(numbers[0], numbers[1]), narrow_pair(numbers[2], numbers[3]),
          narrow_pair(numbers[4], numbers[5]), narrow_pair(numbers[6], numbers[7])};
}

__device__ inline void write_eight(BFloat16* row, const float (&numbers)[kEight]) {
  *reinterpret_cast<uint4*>(row) = narrow_eight(numbers);
}

__device__ inline void write_eight(float* row, const float (&numbers)[kEight]) {
  reinterpret_cast<float4*>(row)[0] = {numbers[0], numbers[1], numbers[2], numbers[3]};
  reinterpret_cast<float4*>(row)[1] = {numbers[4], numbers[5], numbers[6], numbers[7]};
}

/// One number, for rows that are not whole eights.
__device__ inline float read_one(const BFloat16* row) {
  return __uint_as_float(static_cast<uint32_t>(__ldcg(reinterpret_cast<const unsigned short*>(row)))
                         << 16);
}

__device__ inline float read_one(const float* row) { return __ldcg(row); }

__device__ inline void write_one(BFloat16* row, float number) {
  *reinterpret_cast<__nv_bfloat16*>(row) = __float2bfloat16_rn(number);
}

__device__ inline float silu(float x) { return x / (1.0F + __expf(-x)); }

}  // namespace msa::kernels
