#pragma once
// A row of bfloat16 on the threads that share it: a warp, or a block if the row is wide. A thread
// has eights of the row, each as far from the next as all threads together reach.

#include "msa/kernels/norm_rows.h"
#include "msa/kernels/row_numbers.cuh"

namespace msa::kernels {

constexpr int kRowEights = 2;  // that a thread has
constexpr int kNarrowThreads = 256;
constexpr int kNarrowWarps = kNarrowThreads / kWarpThreads;
constexpr int kWideWarps =
    static_cast<int>(kLongestLearnedRow) / (kWarpThreads * kRowEights * kEight);
constexpr int kWideThreads = kWideWarps * kWarpThreads;

/// Warps that share a row of `dim` numbers.
constexpr int64_t warps_of_row(int64_t dim) {
  constexpr int64_t kNumbers = int64_t{kWarpThreads} * kRowEights * kEight;
  return (dim + kNumbers - 1) / kNumbers;
}

inline void expect_learned_rows(const char* what, int64_t num_tokens, int64_t dim) {
  MSA_CHECK(dim > 0 && dim % kEight == 0 && dim <= kLongestLearnedRow, what,
            ": rows have a multiple of 8 numbers up to ", kLongestLearnedRow, ", got ", dim);
  MSA_CHECK(num_tokens <= 0x7fffffff, what, ": at most 2^31 - 1 rows at once, got ", num_tokens);
}

/// Where this thread stands among those of its row.
template <bool kIsWide>
struct RowPlace {
  __device__ RowPlace()
      : thread(kIsWide ? threadIdx.x : threadIdx.x % kWarpThreads),
        step(kIsWide ? blockDim.x * kEight : kWarpThreads * kEight),
        row_of_block(kIsWide ? 0 : threadIdx.x / kWarpThreads) {}

  __device__ int64_t column(int eight) const { return int64_t{thread} * kEight + eight * step; }

  static constexpr int64_t kRowsOfBlock = kIsWide ? 1 : kNarrowWarps;

  unsigned thread;
  int64_t step;
  unsigned row_of_block;
};

/// This thread's eights of a row as they are in memory; zeros beyond its end.
struct RowEights {
  template <typename Place>
  __device__ void load(const BFloat16* row, const Place& place, int64_t dim) {
#pragma unroll
    for (int j = 0; j < kRowEights; ++j) {
      packed[j] = place.column(j) < dim
                      ? __ldcg(reinterpret_cast<const uint4*>(row + place.column(j)))
                      : uint4{};
    }
  }

  uint4 packed[kRowEights] = {};
};

/// The sum over the threads of a row, formed in one order. Wide: `shared` has room for kWideWarps
/// numbers, and calls that follow each other must take different ones of two.
template <bool kIsWide>
__device__ float row_sum(float value, float* shared) {
  value = warp_sum(value);
  if constexpr (kIsWide) {
    const unsigned lane = threadIdx.x % kWarpThreads;
    if (lane == 0) shared[threadIdx.x / kWarpThreads] = value;
    __syncthreads();
    value = warp_sum(lane < blockDim.x / kWarpThreads ? shared[lane] : 0.0F);
  }
  return value;
}

}  // namespace msa::kernels
