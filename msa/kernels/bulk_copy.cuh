#pragma once
// Copies of contiguous bytes into shared memory by Hopper's copy engine. Only where
// __CUDA_ARCH__ >= 900.

#include <cuda_runtime.h>

#include <cstdint>

namespace msa::kernels {

/// How the L2 cache treats what is read once: it goes first.
__device__ inline uint64_t read_once_policy() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

/// Starts copying to an address in shared memory; both addresses and num_bytes are multiples of 16.
__device__ inline void copy_bulk(uint32_t to, const void* from, uint32_t num_bytes,
                                 uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1], %2, [%3], %4;" ::"r"(to),
      "l"(from), "r"(num_bytes), "r"(barrier), "l"(policy)
      : "memory");
}

/// Starts reading into the L2 cache; the address and num_bytes are multiples of 16.
__device__ inline void fetch_to_l2(const void* from, uint32_t num_bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(num_bytes) : "memory");
}

}  // namespace msa::kernels
