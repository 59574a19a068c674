// A thread has eight columns of a chunk of a plane, and goes through its rows.

#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/pool_rows.h"
#include "msa/kernels/row_numbers.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kFewThreads = 262144;  // fewer do not keep a GPU busy with writing
constexpr int kShares = 4;               // then the rows of a chunk are shared among four

/// What a thread has to do.
struct Part {
  int64_t chunk;
  int64_t column;
  int64_t begin;  // its rows
  int64_t end;
};

/// False if there is nothing left for this thread.
template <typename Params>
__device__ bool find_part(const Params& p, Part& part) {
  const auto row_eights = static_cast<unsigned>(p.width / kEight);
  const unsigned item = blockIdx.x * kThreads + threadIdx.x;
  part.chunk = item / row_eights;
  part.column = item % row_eights * kEight;
  if (part.chunk >= p.num_chunks) return false;
  part.begin = __ldcg(p.chunk_offsets + part.chunk);
  part.end = __ldcg(p.chunk_offsets + part.chunk + 1);
  return true;
}

__global__ void __launch_bounds__(kThreads)
    pool_rows_kernel(const __grid_constant__ PoolRowsParams p) {
  await_launched_before();
  release_launched_after();
  Part part;
  if (!find_part(p, part)) return;
  const PooledRows& plane = p.plane[blockIdx.y];
  float sum[kEight] = {};
#pragma unroll 8
  for (int64_t r = part.begin; r < part.end; ++r) {
    float numbers[kEight];
    read_eight(plane.x + r * plane.x_stride + part.column, numbers);
#pragma unroll
    for (int i = 0; i < kEight; ++i) sum[i] += numbers[i];
  }
  const int64_t count = part.end - part.begin;
  const float share = 1.0F / static_cast<float>(count > 0 ? count : 1);
#pragma unroll
  for (int i = 0; i < kEight; ++i) sum[i] *= share;
  write_eight(plane.pooled + part.chunk * p.width + part.column, sum);
}

__global__ void __launch_bounds__(kThreads)
    pool_rows_gradient_kernel(const __grid_constant__ PoolRowsGradientParams p) {
  await_launched_before();
  release_launched_after();
  Part part;
  if (!find_part(p, part)) return;
  const PooledRowsGradient& plane = p.plane[blockIdx.y];
  float gradient[kEight];
  read_eight(plane.pooled_gradient + part.chunk * p.width + part.column, gradient);
  const float share = 1.0F / static_cast<float>(part.end - part.begin);  // none: nothing follows
#pragma unroll
  for (int i = 0; i < kEight; ++i) gradient[i] *= share;
  BFloat16* x_gradient = plane.x_gradient + part.column;
  const int64_t first = part.begin + blockIdx.z;
  if (!plane.adds) {
    const uint4 packed = narrow_eight(gradient);
    for (int64_t r = first; r < part.end; r += gridDim.z) {
      *reinterpret_cast<uint4*>(x_gradient + r * plane.x_stride) = packed;
    }
    return;
  }
  constexpr int kTogether = 4;  // rows read before one is written
  for (int64_t r = first; r < part.end; r += kTogether * gridDim.z) {
    float sum[kTogether][kEight];
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const int64_t row = r + k * gridDim.z;
      if (row < part.end) read_eight(x_gradient + row * plane.x_stride, sum[k]);
    }
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const int64_t row = r + k * gridDim.z;
      if (row >= part.end) break;
#pragma unroll
      for (int i = 0; i < kEight; ++i) sum[k][i] += gradient[i];
      write_eight(x_gradient + row * plane.x_stride, sum[k]);
    }
  }
}

template <typename Params>
dim3 grid_of(const char* what, const Params& params) {
  MSA_CHECK(params.num_planes > 0 && params.num_planes <= kMostPooledPlanes, what, ": 1 to ",
            kMostPooledPlanes, " planes at once, got ", params.num_planes);
  MSA_CHECK(params.width > 0 && params.width % kEight == 0, what, ": rows of ", params.width,
            " numbers are not a multiple of 8");
  for (int i = 0; i < params.num_planes; ++i) {
    MSA_CHECK(params.plane[i].x_stride % kEight == 0, what,
              ": rows begin at multiples of 8 numbers, got a stride of ", params.plane[i].x_stride);
  }
  const int64_t row_eights = params.width / kEight;
  MSA_CHECK(params.num_chunks <= 0x7fffffff / row_eights, what, ": ", params.num_chunks,
            " chunks of ", params.width, " numbers are too many for one launch");
  return {static_cast<unsigned>((params.num_chunks * row_eights + kThreads - 1) / kThreads),
          static_cast<unsigned>(params.num_planes)};
}

}  // namespace

void pool_rows_cuda(const PoolRowsParams& params, CudaStream stream) {
  if (params.num_chunks == 0) return;
  launch_dependent(pool_rows_kernel, grid_of("pool_rows", params), kThreads, 0,
                   static_cast<cudaStream_t>(stream), params);
  expect_launched("pool_rows");
}

void pool_rows_gradient_cuda(const PoolRowsGradientParams& params, CudaStream stream) {
  if (params.num_chunks == 0) return;
  dim3 grid = grid_of("pool_rows_gradient", params);
  const int64_t num_threads = int64_t{grid.x} * grid.y * kThreads;
  if (num_threads < kFewThreads) grid.z = kShares;
  launch_dependent(pool_rows_gradient_kernel, grid, kThreads, 0, static_cast<cudaStream_t>(stream),
                   params);
  expect_launched("pool_rows_gradient");
}

}  // namespace msa::kernels
