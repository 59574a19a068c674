#pragma once
// What the CUDA kernels of this folder share.

#include <cuda_runtime.h>

#include <cstdint>

#include "msa/base/error.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

constexpr int kWarpThreads = 32;
constexpr unsigned kAllLanes = 0xffffffffU;

/// Throws Error(kDevice) with what the runtime says of it.
inline void expect_success(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // it does not stand in the way of what comes next
  throw Error(ErrorCode::kDevice, what, ": ", cudaGetErrorString(error));
}

/// Throws Error(kDevice) if the last launch was refused.
inline void expect_launched(const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw Error(ErrorCode::kDevice, kernel, ": ", cudaGetErrorString(error));
  }
}

inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0;
  int value = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&value, attribute, device) != cudaSuccess) {
    throw Error(ErrorCode::kDevice,
                "no GPU can be asked: ", cudaGetErrorString(cudaGetLastError()));
  }
  return value;
}

/// As instructions on shared memory name it.
__device__ inline uint32_t shared_address(const void* memory) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(memory));
}

__device__ inline float warp_sum(float value) {
  for (int step = kWarpThreads / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, step);
  }
  return value;
}

__device__ inline float warp_max(float value) {
  for (int step = kWarpThreads / 2; step > 0; step /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, step));
  }
  return value;
}

/// float32 as an unsigned integer of the same order. 0 stands for nothing: no number maps to it.
__device__ inline uint32_t to_ordered(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0F);  // one zero
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

__device__ inline float from_ordered(uint32_t ordered) {
  return __uint_as_float((ordered & 0x80000000U) != 0 ? ordered & 0x7fffffffU : ~ordered);
}

}  // namespace msa::kernels
