#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/norm_rows.h"
#include "msa/kernels/row_parts.cuh"

namespace msa::kernels {
namespace {

template <bool kIsWide, bool kAdds>
__global__ void __launch_bounds__(kIsWide ? kWideThreads : kNarrowThreads)
    norm_rows_kernel(const __grid_constant__ NormRowsParams p) {
  __shared__ float shared[kWideWarps];
  await_launched_before();
  release_launched_after();
  const RowPlace<kIsWide> place;
  const int64_t row = blockIdx.x * place.kRowsOfBlock + place.row_of_block;
  if (row >= p.num_tokens) return;
  RowEights x;
  RowEights addend;
  x.load(p.x + row * p.dim, place, p.dim);
  if constexpr (kAdds) addend.load(p.addend + row * p.dim, place, p.dim);
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kRowEights; ++j) {
    float numbers[kEight];
    widen_eight(x.packed[j], numbers);
    if constexpr (kAdds) {
      float added[kEight];
      widen_eight(addend.packed[j], added);
#pragma unroll
      for (int i = 0; i < kEight; ++i) numbers[i] += added[i];
      x.packed[j] = narrow_eight(numbers);
      widen_eight(x.packed[j], numbers);
      if (place.column(j) < p.dim) {
        *reinterpret_cast<uint4*>(p.sum + row * p.dim + place.column(j)) = x.packed[j];
      }
    }
#pragma unroll
    for (int i = 0; i < kEight; ++i) squares += numbers[i] * numbers[i];
  }
  squares = row_sum<kIsWide>(squares, shared);
  const float factor = 1.0F / sqrtf(squares / static_cast<float>(p.dim) + p.eps);
  if (place.thread == 0) p.inverse_root[row] = factor;
#pragma unroll
  for (int j = 0; j < kRowEights; ++j) {
    const int64_t column = place.column(j);
    if (column >= p.dim) break;
    float numbers[kEight];
    float weight[kEight];
    widen_eight(x.packed[j], numbers);
    read_constants(p.weight + column, weight);
#pragma unroll
    for (int i = 0; i < kEight; ++i) numbers[i] = weight[i] * (numbers[i] * factor);
    write_eight(p.out + row * p.dim + column, numbers);
  }
}

}  // namespace

void norm_rows_cuda(const NormRowsParams& params, CudaStream stream) {
  if (params.num_tokens == 0) return;
  expect_learned_rows("norm_rows", params.num_tokens, params.dim);
  const int64_t num_warps = warps_of_row(params.dim);
  const auto queue = static_cast<cudaStream_t>(stream);
  if (num_warps == 1) {
    auto* kernel =
        params.addend == nullptr ? norm_rows_kernel<false, false> : norm_rows_kernel<false, true>;
    const int64_t num_blocks = (params.num_tokens + kNarrowWarps - 1) / kNarrowWarps;
    launch_dependent(kernel, static_cast<unsigned>(num_blocks), kNarrowThreads, 0, queue, params);
  } else {
    auto* kernel =
        params.addend == nullptr ? norm_rows_kernel<true, false> : norm_rows_kernel<true, true>;
    launch_dependent(kernel, static_cast<unsigned>(params.num_tokens),
                     static_cast<unsigned>(num_warps * kWarpThreads), 0, queue, params);
  }
  expect_launched("norm_rows");
}

}  // namespace msa::kernels
