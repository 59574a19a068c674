#pragma once
// Kernels that start while the one before them still ends (programmatic dependent launch).

#include <cuda_runtime.h>

#include <utility>

#include "msa/kernels/device_code.cuh"

namespace msa::kernels {

/// Launches a kernel that may begin before the work queued ahead of it on `stream` has ended: what
/// that work writes may be touched only behind await_launched_before(). GPUs older than Hopper
/// launch it the ordinary way. Throws Error(kDevice) if it is refused.
template <typename... P, typename... A>
void launch_dependent(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                      cudaStream_t stream, A&&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9 ? 1 : 0;
  expect_success(cudaLaunchKernelEx(&config, kernel, std::forward<A>(arguments)...),
                 "a kernel launch");
}

/// Waits until the kernel launched before this one has ended and its writes can be seen.
__device__ inline void await_launched_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

/// Lets the kernel launched after this one begin, once every block has called this or ended. Called
/// behind await_launched_before(), it promises the next kernel, from its first instruction, the
/// writes of everything but this kernel.
__device__ inline void release_launched_after() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

}  // namespace msa::kernels
