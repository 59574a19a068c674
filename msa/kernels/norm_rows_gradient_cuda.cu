// With n = x * inverse_root and g = weight * out_gradient, the gradient of x is
// inverse_root * (g - n * mean of g * n), that of the weight the sum over rows of out_gradient * n.
// A block goes through many rows and keeps its part of the weight's sum in registers; the parts
// are added by a second launch. How many there are is a matter of E and of whether there is an
// addend.

#include <algorithm>

#include "msa/kernels/norm_rows.h"
#include "msa/kernels/row_parts.cuh"
#include "msa/kernels/sum_parts.cuh"

namespace msa::kernels {
namespace {

// Blocks for each of the 132 multiprocessors of a Hopper GPU. Narrow rows with an addend are loaded
// one turn ahead; without one more blocks do as well, and have not the registers for it.
constexpr int64_t kMultiprocessors = 132;
constexpr int64_t kNarrowBlocks = 3;
constexpr int64_t kNarrowAddingBlocks = 2;
constexpr int64_t kWideWarpsTogether = 20;
constexpr int kWideRegisterThreads = 640;  // what the registers of a wide block must suffice for

constexpr int64_t num_parts_of(int64_t dim, bool adds) {
  const int64_t num_warps = warps_of_row(dim);
  const int64_t narrow = adds ? kNarrowAddingBlocks : kNarrowBlocks;
  return kMultiprocessors *
         (num_warps == 1 ? narrow : std::max<int64_t>(1, kWideWarpsTogether / num_warps));
}

template <bool kAdds>
struct RowInputs {
  template <typename Place>
  __device__ void load(const NormRowsGradientParams& p, const Place& place, int64_t row) {
    x.load(p.x + row * p.dim, place, p.dim);
    out_gradient.load(p.out_gradient + row * p.dim, place, p.dim);
    if constexpr (kAdds) addend.load(p.addend + row * p.dim, place, p.dim);
    inverse_root = __ldcg(p.inverse_root + row);
  }

  RowEights x;
  RowEights out_gradient;
  RowEights addend;
  float inverse_root = 0;
};

/// Adds this thread's columns over the rows of a narrow block, and leaves the block's part.
template <bool kIsWide>
__device__ void write_part(const RowPlace<kIsWide>& place, const float (&sum)[kRowEights][kEight],
                           int64_t dim, float* part) {
  if constexpr (kIsWide) {
#pragma unroll
    for (int j = 0; j < kRowEights; ++j) {
      if (place.column(j) < dim) write_eight(part + place.column(j), sum[j]);
    }
  } else {
    constexpr int kColumns = kWarpThreads * kRowEights * kEight;
    __shared__ __align__(16) float rows[kNarrowWarps][kColumns];
#pragma unroll
    for (int j = 0; j < kRowEights; ++j) {
      write_eight(rows[place.row_of_block] + place.column(j), sum[j]);
    }
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < dim; c += kNarrowThreads) {
      float total = 0;
      for (int w = 0; w < kNarrowWarps; ++w) total += rows[w][c];
      part[c] = total;
    }
  }
}

template <bool kIsWide, bool kAdds>
__global__ void __launch_bounds__(kIsWide ? kWideRegisterThreads : kNarrowThreads,
                                  kIsWide ? 1 : (kAdds ? kNarrowAddingBlocks : kNarrowBlocks))
    norm_rows_gradient_kernel(const __grid_constant__ NormRowsGradientParams p) {
  constexpr bool kLoadsAhead = kIsWide || kAdds;
  __shared__ float shared[2][kWideWarps];
  await_launched_before();
  release_launched_after();
  const RowPlace<kIsWide> place;
  const int64_t step = gridDim.x * place.kRowsOfBlock;
  float weight[kRowEights][kEight] = {};
  float sum[kRowEights][kEight] = {};
#pragma unroll
  for (int j = 0; j < kRowEights; ++j) {
    if (place.column(j) < p.dim) read_constants(p.weight + place.column(j), weight[j]);
  }
  int64_t row = blockIdx.x * place.kRowsOfBlock + place.row_of_block;
  RowInputs<kAdds> next;
  if (kLoadsAhead && row < p.num_tokens) next.load(p, place, row);
  for (int turn = 0; row < p.num_tokens; row += step, turn ^= 1) {
    if constexpr (!kLoadsAhead) next.load(p, place, row);
    const RowInputs<kAdds> inputs = next;
    if constexpr (kLoadsAhead) {
      if (row + step < p.num_tokens) next.load(p, place, row + step);
    }
    float normed[kRowEights][kEight];
    float weighted[kRowEights][kEight];
    float dot = 0;
#pragma unroll
    for (int j = 0; j < kRowEights; ++j) {
      float gradient[kEight];
      widen_eight(inputs.x.packed[j], normed[j]);
      widen_eight(inputs.out_gradient.packed[j], gradient);
#pragma unroll
      for (int i = 0; i < kEight; ++i) {
        normed[j][i] *= inputs.inverse_root;
        weighted[j][i] = weight[j][i] * gradient[i];
        dot += weighted[j][i] * normed[j][i];
        sum[j][i] += gradient[i] * normed[j][i];
      }
    }
    const float mean = row_sum<kIsWide>(dot, shared[turn]) / static_cast<float>(p.dim);
#pragma unroll
    for (int j = 0; j < kRowEights; ++j) {
      if (place.column(j) >= p.dim) break;
      float out[kEight] = {};
      if constexpr (kAdds) widen_eight(inputs.addend.packed[j], out);
#pragma unroll
      for (int i = 0; i < kEight; ++i) {
        out[i] += inputs.inverse_root * (weighted[j][i] - normed[j][i] * mean);
      }
      write_eight(p.x_gradient + row * p.dim + place.column(j), out);
    }
  }
  write_part(place, sum, p.dim, static_cast<float*>(p.workspace) + blockIdx.x * p.dim);
}

}  // namespace

int64_t norm_rows_gradient_workspace_bytes(int64_t dim) {
  return std::max(num_parts_of(dim, false), num_parts_of(dim, true)) * dim *
         static_cast<int64_t>(sizeof(float));
}

void norm_rows_gradient_cuda(const NormRowsGradientParams& params, CudaStream stream) {
  expect_learned_rows("norm_rows_gradient", params.num_tokens, params.dim);
  const int64_t num_warps = warps_of_row(params.dim);
  const bool adds = params.addend != nullptr;
  const int64_t num_parts = num_parts_of(params.dim, adds);
  const auto queue = static_cast<cudaStream_t>(stream);
  auto* narrow =
      adds ? norm_rows_gradient_kernel<false, true> : norm_rows_gradient_kernel<false, false>;
  auto* wide =
      adds ? norm_rows_gradient_kernel<true, true> : norm_rows_gradient_kernel<true, false>;
  const int64_t num_threads = num_warps == 1 ? kNarrowThreads : num_warps * kWarpThreads;
  launch_dependent(num_warps == 1 ? narrow : wide, static_cast<unsigned>(num_parts),
                   static_cast<unsigned>(num_threads), 0, queue, params);
  expect_launched("norm_rows_gradient");
  sum_parts({.parts = static_cast<const float*>(params.workspace),
             .sum = {params.weight_gradient},
             .first_row = {0, static_cast<int>(num_parts)},
             .num_sums = 1,
             .width = params.dim},
            queue);
  expect_launched("norm_rows_gradient");
}

}  // namespace msa::kernels
