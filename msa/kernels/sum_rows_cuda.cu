// Most sums are of few rows: a thread has eight columns of one. A sum of many rows, as of a place
// that everybody reads, is left out there and gets a block, whose threads share its rows; that
// launch goes first, and the other runs beside it.

#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/row_numbers.cuh"
#include "msa/kernels/sum_rows.h"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kFewRows = 32;
constexpr int kLongBlocks = 528;  // four for each multiprocessor of a Hopper GPU

/// Adds eight columns of the rows order[begin], order[begin + step], ... up to `end`.
__device__ void add_rows(const SumRowsParams& p, int64_t column, int begin, int end, int step,
                         float (&sum)[kEight]) {
#pragma unroll 4
  for (int i = begin; i < end; i += step) {
    float numbers[kEight];
    read_eight(p.x + __ldcg(p.order + i) * p.width + column, numbers);
#pragma unroll
    for (int k = 0; k < kEight; ++k) sum[k] += numbers[k];
  }
}

__device__ void sum_few_rows(const SumRowsParams& p) {
  const auto row_eights = static_cast<unsigned>(p.width / kEight);
  const unsigned item = blockIdx.x * kThreads + threadIdx.x;
  const int64_t n = item / row_eights;
  if (n >= p.num_sums) return;
  const int begin = __ldcg(p.offsets + n);
  const int end = __ldcg(p.offsets + n + 1);
  if (end - begin > kFewRows) return;
  const int64_t column = item % row_eights * kEight;
  float sum[kEight] = {};
  add_rows(p, column, begin, end, 1, sum);
  write_eight(p.sum + n * p.width + column, sum);
}

/// Launched behind many_rows_kernel, whose start says that what both read is there.
__global__ void __launch_bounds__(kThreads) few_rows_kernel(SumRowsParams p) {
  sum_few_rows(p);
  await_launched_before();  // who waits for this kernel waits for both
}

/// The sum of place n by the whole block: threads that are neighbours have neighbouring columns,
/// and as many rows at a time as there are threads for.
__device__ void sum_many_rows(const SumRowsParams& p, int64_t n,
                              float (&shared)[kThreads][kEight]) {
  const int begin = __ldcg(p.offsets + n);
  const int end = __ldcg(p.offsets + n + 1);
  const int row_eights = static_cast<int>(p.width) / kEight;
  const int columns = row_eights < kThreads ? row_eights : kThreads;
  const int step = kThreads / columns;
  const int row = static_cast<int>(threadIdx.x) / columns;
  for (int first = 0; first < row_eights; first += columns) {
    const int eight = first + static_cast<int>(threadIdx.x) % columns;
    const bool has_columns = row < step && eight < row_eights;
    float sum[kEight] = {};
    if (has_columns) add_rows(p, int64_t{eight} * kEight, begin + row, end, step, sum);
    __syncthreads();  // the sums before these have been read
#pragma unroll
    for (int k = 0; k < kEight; ++k) shared[threadIdx.x][k] = sum[k];
    __syncthreads();
    if (row > 0 || !has_columns) continue;
    for (int other = 1; other < step; ++other) {
#pragma unroll
      for (int k = 0; k < kEight; ++k) sum[k] += shared[threadIdx.x + other * columns][k];
    }
    write_eight(p.sum + n * p.width + int64_t{eight} * kEight, sum);
  }
}

__global__ void __launch_bounds__(kThreads) many_rows_kernel(SumRowsParams p) {
  __shared__ float shared[kThreads][kEight];
  __shared__ int found[kThreads];
  __shared__ int num_found;
  await_launched_before();
  release_launched_after();
  // Places stand far apart, so that neighbours with many rows each are shared among blocks.
  for (int64_t tile = blockIdx.x; tile < p.num_sums; tile += int64_t{kLongBlocks} * kThreads) {
    const int64_t n = tile + int64_t{threadIdx.x} * kLongBlocks;
    if (threadIdx.x == 0) num_found = 0;
    __syncthreads();
    if (n < p.num_sums && __ldcg(p.offsets + n + 1) - __ldcg(p.offsets + n) > kFewRows) {
      found[atomicAdd(&num_found, 1)] = static_cast<int>(n);
    }
    __syncthreads();
    for (int i = 0; i < num_found; ++i) sum_many_rows(p, found[i], shared);
    __syncthreads();
  }
}

}  // namespace

void sum_rows_cuda(const SumRowsParams& params, CudaStream stream) {
  if (params.num_sums == 0) return;
  MSA_CHECK(params.width > 0 && params.width % kEight == 0, "sum_rows: rows of ", params.width,
            " numbers are not a multiple of 8");
  const int64_t row_eights = params.width / kEight;
  MSA_CHECK(params.num_sums <= 0x7fffffff / row_eights, "sum_rows: ", params.num_sums, " sums of ",
            params.width, " numbers are too many for one launch");
  const auto queue = static_cast<cudaStream_t>(stream);
  const int64_t num_blocks = (params.num_sums * row_eights + kThreads - 1) / kThreads;
  launch_dependent(many_rows_kernel, kLongBlocks, kThreads, 0, queue, params);
  launch_dependent(few_rows_kernel, static_cast<unsigned>(num_blocks), kThreads, 0, queue, params);
  expect_launched("sum_rows");
}

}  // namespace msa::kernels
