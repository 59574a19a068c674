#pragma once
// Sums and maxima over the threads of a block.

#include "msa/kernels/device_code.cuh"

namespace msa::kernels {

/// Folds over a block of kThreads; every thread receives the result. `fold` is that of a warp;
/// `shared` has room for kThreads / kWarpThreads values.
template <int kThreads, typename Fold>
__device__ float block_fold(float value, float* shared, const Fold& fold) {
  constexpr int kWarps = kThreads / kWarpThreads;
  value = fold(value);
  __syncthreads();
  if (threadIdx.x % kWarpThreads == 0) shared[threadIdx.x / kWarpThreads] = value;
  __syncthreads();
  return fold(shared[threadIdx.x % kWarps]);
}

template <int kThreads>
__device__ float block_max(float value, float* shared) {
  return block_fold<kThreads>(value, shared, [](float v) { return warp_max(v); });
}

template <int kThreads>
__device__ float block_sum(float value, float* shared) {
  constexpr int kWarps = kThreads / kWarpThreads;
  // Every warp sums each of the kWarps parts kWarpThreads / kWarps times.
  return block_fold<kThreads>(value, shared, [](float v) { return warp_sum(v); }) /
         (kWarpThreads / kWarps);
}

}  // namespace msa::kernels
