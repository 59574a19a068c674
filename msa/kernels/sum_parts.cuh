#pragma once
// The second stage of sums over many rows: kernels leave a row of parts a block, and these are
// added here in one order.

#include <cstdint>

#include "msa/kernels/dependent_launch.cuh"

namespace msa::kernels {

constexpr int kMostPartSums = 4;

/// sum[i][c] = sum of parts[r][c] over r in [first_row[i], first_row[i + 1])
struct SumPartsParams {
  const float* parts = nullptr;           // [rows, width]
  float* sum[kMostPartSums] = {};         // each [width], written; null: not wanted
  int first_row[kMostPartSums + 1] = {};  // never falling
  int num_sums = 0;                       // up to kMostPartSums
  int64_t width = 0;
};

constexpr int kPartColumns = 32;  // of a block; also the rows that it adds at a time

static __global__ void __launch_bounds__(kPartColumns* kPartColumns)
    sum_parts_kernel(const __grid_constant__ SumPartsParams p) {
  __shared__ float shared[kPartColumns][kPartColumns + 1];
  await_launched_before();
  release_launched_after();
  float* out = p.sum[blockIdx.y];
  if (out == nullptr) return;
  const int64_t column = int64_t{blockIdx.x} * kPartColumns + threadIdx.x;
  float sum = 0;
  if (column < p.width) {
    const int end = p.first_row[blockIdx.y + 1];
#pragma unroll 8
    for (int r = p.first_row[blockIdx.y] + static_cast<int>(threadIdx.y); r < end;
         r += kPartColumns) {
      sum += __ldcg(p.parts + r * p.width + column);
    }
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  sum = warp_sum(shared[threadIdx.x][threadIdx.y]);
  const int64_t summed = int64_t{blockIdx.x} * kPartColumns + threadIdx.y;
  if (threadIdx.x == 0 && summed < p.width) out[summed] = sum;
}

inline void sum_parts(const SumPartsParams& params, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((params.width + kPartColumns - 1) / kPartColumns),
                  static_cast<unsigned>(params.num_sums));
  launch_dependent(sum_parts_kernel, grid, dim3(kPartColumns, kPartColumns), 0, stream, params);
}

}  // namespace msa::kernels
