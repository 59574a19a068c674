#pragma once
// Two bfloat16 in a word, and as float32.

#include <cuda_runtime.h>

#include <cstdint>

namespace msa::kernels {

/// Two bfloat16 in one word, the first in its lower half.
__device__ inline float2 widen_pair(uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000U)};
}

__device__ inline uint32_t narrow_pair(float first, float second) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

}  // namespace msa::kernels
