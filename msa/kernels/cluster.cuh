#pragma once
// Blocks of a cluster that read each other's shared memory. On GPUs older than Hopper a block is a
// cluster of its own.

#include <cuda_runtime.h>

#include <cstdint>

namespace msa::kernels {

/// Waits for all blocks of the cluster that have not ended; what they wrote can be seen.
__device__ inline void sync_cluster() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __syncwarp();
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
#else
  __syncthreads();
#endif
}

/// The two halves of sync_cluster(): behind await_cluster() every block has come to its
/// arrive_at_cluster(), and what was written before that can be seen.
__device__ inline void arrive_at_cluster() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __syncwarp();
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
__device__ inline void await_cluster() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __syncwarp();
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
  __syncthreads();
#endif
}

/// What another block of the cluster has at the address that `own` is here.
__device__ inline float4 load_from_block(const float4* own, int block) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  float4 out;
  asm volatile(
      "{.reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [there];}"
      : "=f"(out.x), "=f"(out.y), "=f"(out.z), "=f"(out.w)
      : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(own))), "r"(block));
  return out;
#else
  return own[0 * block];
#endif
}
__device__ inline float2 load_from_block(const float2* own, int block) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  float2 out;
  asm volatile(
      "{.reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %2, %3;\n"
      "ld.shared::cluster.v2.f32 {%0,%1}, [there];}"
      : "=f"(out.x), "=f"(out.y)
      : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(own))), "r"(block));
  return out;
#else
  return own[0 * block];
#endif
}

/// Writes to the address that `own` is here in another block of the cluster.
__device__ inline void store_to_block(float2* own, int block, float2 value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile(
      "{.reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "st.shared::cluster.v2.f32 [there], {%2,%3};}" ::"r"(
          static_cast<uint32_t>(__cvta_generic_to_shared(own))),
      "r"(block), "f"(value.x), "f"(value.y)
      : "memory");
#else
  own[0 * block] = value;
#endif
}

}  // namespace msa::kernels
