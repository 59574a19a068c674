#pragma once
// The row of the largest value of a vector that many blocks compute.

#include "msa/kernels/device_code.cuh"

namespace msa::kernels {

/// The larger of two is the larger value, then the lower row; 0 is below all. NaN is above all and
/// stands for row -1.
__device__ inline uint64_t row_candidate(float value, int64_t row) {
  if (isnan(value)) return uint64_t{0xffffffffU} << 32;
  return uint64_t{to_ordered(value)} << 32 | (0xffffffffU - static_cast<uint32_t>(row));
}

__device__ inline uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

/// The first kWarps warps of every block give their threads' candidates; the last block to come
/// writes the row. `meet` lets those warps wait for each other. `workspace` is of 16 bytes, 8-byte
/// aligned, zero before and behind.
template <int kWarps, typename Meet>
__device__ void write_largest_row(uint64_t best, uint64_t (&warp_best)[kWarps],
                                  std::byte* workspace, int32_t* out, const Meet& meet) {
  for (int step = kWarpThreads / 2; step > 0; step /= 2) {
    best = larger(best, __shfl_xor_sync(kAllLanes, best, step));
  }
  if (threadIdx.x % kWarpThreads == 0) warp_best[threadIdx.x / kWarpThreads] = best;
  meet();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kWarps; ++w) best = larger(best, warp_best[w]);
  auto* all_best = reinterpret_cast<unsigned long long*>(workspace);
  auto* num_done = reinterpret_cast<unsigned*>(all_best + 1);
  atomicMax(all_best, static_cast<unsigned long long>(best));
  __threadfence();
  if (atomicAdd(num_done, 1U) + 1 < gridDim.x) return;
  __threadfence();
  const auto row = static_cast<uint32_t>(atomicExch(all_best, 0ULL));
  *out = static_cast<int32_t>(0xffffffffU - row);
  *num_done = 0;
}

}  // namespace msa::kernels
