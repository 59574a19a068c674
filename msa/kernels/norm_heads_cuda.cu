#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/head_lanes.cuh"
#include "msa/kernels/norm_heads.h"

namespace msa::kernels {
namespace {

constexpr int kTogether = 2;  // heads of a part
constexpr int kBlocks = 5;    // on a multiprocessor
using Parts = HeadParts<kTogether>;

/// The group of a part of a token's heads, which becomes its place in the group.
__device__ const HeadGroup& group_of(const NormHeadsParams& p, int& part) {
  int i = 0;
  for (; part >= Parts(p.group[i]).count; ++i) part -= Parts(p.group[i]).count;
  return p.group[i];
}

template <int kLanes>
__global__ void __launch_bounds__(kHeadThreads, kBlocks)
    norm_heads_kernel(const __grid_constant__ NormHeadsParams p, unsigned num_parts) {
  await_launched_before();
  release_launched_after();
  const unsigned item = blockIdx.x * (kHeadThreads / kLanes) + threadIdx.x / kLanes;
  const int64_t token = item / num_parts;
  int part = static_cast<int>(item % num_parts);
  const HeadGroup& group = group_of(p, part);
  const Parts parts(group);
  const int64_t first = threadIdx.x % kLanes * kFour;
  const int64_t half = p.head_dim / 2;
  // All lanes of a warp stay for its sums.
  const int count = token < p.num_tokens && first < half ? parts.heads_of(part) : 0;
  const BFloat16* joint = p.joint + token * p.row_stride + group.first_column +
                          parts.first_head(part) * p.head_dim + first;
  HeadFours x[kTogether];
#pragma unroll
  for (int h = 0; h < kTogether; ++h) {
    if (h < count) x[h].load(joint + h * p.head_dim, half);
  }
  float cosine[kFour];
  float sine[kFour];
  float low_weight[kFour];
  float high_weight[kFour];
  const bool is_normed = count > 0 && group.weight != nullptr;
  if (is_normed) {
    const int64_t angles = token * half;
    read_four(p.cosine + angles + first, cosine);
    read_four(p.sine + angles + first, sine);
    read_four(group.weight + first, low_weight);
    read_four(group.weight + half + first, high_weight);
  }
  BFloat16* out =
      group.out + (token * group.num_heads + parts.first_head(part)) * p.head_dim + first;
#pragma unroll
  for (int h = 0; h < kTogether; ++h) {
    float low[kFour];
    float high[kFour];
    widen_four(x[h].low, low);
    widen_four(x[h].high, high);
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kFour; ++i) squares += low[i] * low[i] + high[i] * high[i];
    squares = head_sum<kLanes>(squares);
    if (is_normed) {
      const float factor = 1.0F / sqrtf(squares / static_cast<float>(p.head_dim) + p.eps);
#pragma unroll
      for (int i = 0; i < kFour; ++i) {
        const float a = low_weight[i] * (low[i] * factor);
        const float b = high_weight[i] * (high[i] * factor);
        low[i] = a * cosine[i] - b * sine[i];
        high[i] = b * cosine[i] + a * sine[i];
      }
    }
    if (h < count) {
      write_four(out + h * p.head_dim, low);
      write_four(out + h * p.head_dim + half, high);
    }
  }
}

auto* kernel_of(int num_lanes) {
  switch (num_lanes) {
    case 2:
      return norm_heads_kernel<2>;
    case 4:
      return norm_heads_kernel<4>;
    case 8:
      return norm_heads_kernel<8>;
    case 16:
      return norm_heads_kernel<16>;
    default:
      return norm_heads_kernel<32>;
  }
}

}  // namespace

void norm_heads_cuda(const NormHeadsParams& params, CudaStream stream) {
  if (params.num_tokens == 0) return;
  expect_head_groups("norm_heads", params.group, params.num_groups, params.row_stride,
                     params.head_dim, params.num_tokens);
  int64_t num_parts = 0;
  for (int i = 0; i < params.num_groups; ++i) num_parts += Parts(params.group[i]).count;
  const int num_lanes = lanes_of_head(params.head_dim);
  const int64_t parts_of_block = kHeadThreads / num_lanes;
  const int64_t num_blocks = (params.num_tokens * num_parts + parts_of_block - 1) / parts_of_block;
  launch_dependent(kernel_of(num_lanes), static_cast<unsigned>(num_blocks), kHeadThreads, 0,
                   static_cast<cudaStream_t>(stream), params, static_cast<unsigned>(num_parts));
  expect_launched("norm_heads");
}

}  // namespace msa::kernels
