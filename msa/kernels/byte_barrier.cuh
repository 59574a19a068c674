#pragma once
// Barriers in shared memory that also count bytes which the copy engine brings. Only where
// __CUDA_ARCH__ >= 900. `barrier` is an address in shared memory (shared_address), of 8 bytes.

#include <cuda_runtime.h>

#include <cstdint>

namespace msa::kernels {

/// A phase of the barrier ends with `num_arrivals` and when all expected bytes have come.
__device__ inline void init_barrier(uint32_t barrier, uint32_t num_arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(num_arrivals)
               : "memory");
}

/// Behind init_barrier, before the threads meet: the copy engine and other blocks see it.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// Arrives, and lets the phase wait for `num_bytes`.
__device__ inline void expect_bytes(uint32_t barrier, uint32_t num_bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
               "r"(num_bytes)
               : "memory");
}

/// Waits for the end of the phase of this parity. That before the first has parity 1.
__device__ inline void await_phase(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

}  // namespace msa::kernels
