// out_gradient is rotated back; from there on as in norm_rows_gradient, a head a row. A block has
// heads of one group, so that a thread's part of the weight's sum stays in registers; the parts are
// added by a second launch.

#include <algorithm>

#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/head_lanes.cuh"
#include "msa/kernels/norm_heads.h"
#include "msa/kernels/sum_parts.cuh"

namespace msa::kernels {
namespace {

constexpr int kTogether = 3;  // heads of a part
using Parts = HeadParts<kTogether>;
constexpr int kBlocks = 3;                 // on a multiprocessor
constexpr int kNumBlocks = 132 * kBlocks;  // for those of a Hopper GPU

/// Group g has the blocks first[g] .. first[g + 1] - 1, as many as its numbers take time.
struct GroupBlocks {
  int first[kMostHeadGroups + 1] = {};
};

/// What a lane reads of a part.
struct PartInputs {
  __device__ void load(const NormHeadsGradientParams& p, const HeadGroupGradient& group,
                       const Parts& parts, unsigned item, int64_t first) {
    const int64_t token = item / static_cast<unsigned>(parts.count);
    const int part = static_cast<int>(item % static_cast<unsigned>(parts.count));
    const int64_t half = p.head_dim / 2;
    const int64_t head = parts.first_head(part);
    const int64_t column = group.first_column + head * p.head_dim + first;
    const BFloat16* joint = p.joint + token * p.row_stride + column;
    const BFloat16* out_gradient =
        group.out_gradient + (token * group.num_heads + head) * p.head_dim + first;
    count = parts.heads_of(part);
#pragma unroll
    for (int h = 0; h < kTogether; ++h) {
      if (h >= count) break;
      if (group.weight != nullptr) x[h].load(joint + h * p.head_dim, half);
      gradient[h].load(out_gradient + h * p.head_dim, half);
    }
    place = token * p.gradient_stride + column;
    if (group.weight == nullptr) return;
    const int64_t angles = token * half;
    read_four(p.cosine + angles + first, cosine);
    read_four(p.sine + angles + first, sine);
  }

  HeadFours x[kTogether];
  HeadFours gradient[kTogether];
  float cosine[kFour] = {};
  float sine[kFour] = {};
  int64_t place = 0;  // of the first head, in rows of gradients
  int count = 0;      // heads
};

/// A lane's numbers of a weight, and of the weight's gradient.
struct LaneWeights {
  float low[kFour] = {};
  float high[kFour] = {};
  float low_sum[kFour] = {};
  float high_sum[kFour] = {};
};

/// All lanes of a warp come here for its sums; `is_head` says whether there is a head.
template <int kLanes>
__device__ void write_head_gradient(const NormHeadsGradientParams& p, const PartInputs& inputs,
                                    int h, bool is_head, LaneWeights& weights) {
  float low[kFour];
  float high[kFour];
  float a[kFour];
  float b[kFour];
  widen_four(inputs.x[h].low, low);
  widen_four(inputs.x[h].high, high);
  widen_four(inputs.gradient[h].low, a);
  widen_four(inputs.gradient[h].high, b);
  float squares = 0;
  float dot = 0;
#pragma unroll
  for (int i = 0; i < kFour; ++i) {
    const float turned = a[i] * inputs.cosine[i] + b[i] * inputs.sine[i];
    b[i] = b[i] * inputs.cosine[i] - a[i] * inputs.sine[i];
    a[i] = turned;
    squares += low[i] * low[i] + high[i] * high[i];
    dot += weights.low[i] * a[i] * low[i] + weights.high[i] * b[i] * high[i];
  }
  squares = head_sum<kLanes>(squares);
  dot = head_sum<kLanes>(dot);
  if (!is_head) return;
  const auto dim = static_cast<float>(p.head_dim);
  const float factor = 1.0F / sqrtf(squares / dim + p.eps);
  const float mean = dot * factor / dim;
#pragma unroll
  for (int i = 0; i < kFour; ++i) {
    low[i] *= factor;
    high[i] *= factor;
    weights.low_sum[i] += a[i] * low[i];
    weights.high_sum[i] += b[i] * high[i];
    low[i] = factor * (weights.low[i] * a[i] - low[i] * mean);
    high[i] = factor * (weights.high[i] * b[i] - high[i] * mean);
  }
  BFloat16* out = p.joint_gradient + inputs.place + h * p.head_dim;
  write_four(out, low);
  write_four(out + p.head_dim / 2, high);
}

__device__ void copy_heads(const NormHeadsGradientParams& p, const PartInputs& inputs) {
#pragma unroll
  for (int h = 0; h < kTogether; ++h) {
    if (h >= inputs.count) break;
    BFloat16* out = p.joint_gradient + inputs.place + h * p.head_dim;
    *reinterpret_cast<uint2*>(out) = inputs.gradient[h].low;
    *reinterpret_cast<uint2*>(out + p.head_dim / 2) = inputs.gradient[h].high;
  }
}

/// The share of the parts of a group that block `block` of its `num_blocks` has.
template <int kLanes>
__device__ void write_group_gradient(const NormHeadsGradientParams& p,
                                     const HeadGroupGradient& group, unsigned block,
                                     unsigned num_blocks, LaneWeights& weights) {
  constexpr unsigned kItems = kHeadThreads / kLanes;
  const Parts parts(group);
  const int64_t first = threadIdx.x % kLanes * kFour;
  const bool has_numbers = first < p.head_dim / 2;
  const unsigned num_items = static_cast<unsigned>(p.num_tokens) * parts.count;
  const unsigned own = threadIdx.x / kLanes;
  if (group.weight != nullptr && has_numbers) {
    read_four(group.weight + first, weights.low);
    read_four(group.weight + p.head_dim / 2 + first, weights.high);
  }
  // All lanes of a warp turn as often.
  for (unsigned item = block * kItems; item < num_items; item += num_blocks * kItems) {
    PartInputs inputs;
    if (item + own < num_items && has_numbers) inputs.load(p, group, parts, item + own, first);
    if (group.weight == nullptr) {
      copy_heads(p, inputs);
      continue;
    }
#pragma unroll
    for (int h = 0; h < kTogether; ++h) {
      write_head_gradient<kLanes>(p, inputs, h, h < inputs.count, weights);
    }
  }
}

template <int kLanes>
__global__ void __launch_bounds__(kHeadThreads, kBlocks)
    norm_heads_gradient_kernel(const __grid_constant__ NormHeadsGradientParams p,
                               const __grid_constant__ GroupBlocks blocks) {
  constexpr int kItems = kHeadThreads / kLanes;
  constexpr int kHalf = kLanes * kFour;
  __shared__ __align__(16) float shared[kItems][2 * kHalf];
  await_launched_before();
  release_launched_after();
  const int block = static_cast<int>(blockIdx.x);
  int g = 0;
  while (block >= blocks.first[g + 1]) ++g;
  LaneWeights weights;
  write_group_gradient<kLanes>(p, p.group[g], block - blocks.first[g],
                               blocks.first[g + 1] - blocks.first[g], weights);
  if (p.group[g].weight == nullptr) return;
  const unsigned own = threadIdx.x / kLanes;
  const unsigned first = threadIdx.x % kLanes * kFour;
#pragma unroll
  for (int i = 0; i < kFour; ++i) {
    shared[own][first + i] = weights.low_sum[i];
    shared[own][kHalf + first + i] = weights.high_sum[i];
  }
  __syncthreads();
  float* part = static_cast<float*>(p.workspace) + blockIdx.x * p.head_dim;
  const int64_t half = p.head_dim / 2;
  for (int64_t d = threadIdx.x; d < p.head_dim; d += kHeadThreads) {
    const int64_t column = d < half ? d : kHalf + d - half;
    float total = 0;
    for (int i = 0; i < kItems; ++i) total += shared[i][column];
    part[d] = total;
  }
}

/// A normed head is read twice and written once, a copied one read and written once.
int64_t cost_of(const HeadGroupGradient& group) {
  return group.num_heads * (group.weight == nullptr ? 2 : 3);
}

GroupBlocks blocks_of(const NormHeadsGradientParams& params) {
  int64_t total = 0;
  for (int g = 0; g < params.num_groups; ++g) total += cost_of(params.group[g]);
  GroupBlocks blocks;
  int64_t cost = 0;
  for (int g = 0; g < kMostHeadGroups; ++g) {
    if (g < params.num_groups) cost += cost_of(params.group[g]);
    const auto end = static_cast<int>(cost * kNumBlocks / total);
    const bool has_heads = g < params.num_groups && params.group[g].num_heads > 0;
    // At least one, and one left for each group behind it.
    blocks.first[g + 1] = std::clamp(end, blocks.first[g] + (has_heads ? 1 : 0),
                                     kNumBlocks - (kMostHeadGroups - 1 - g));
  }
  blocks.first[params.num_groups] = kNumBlocks;
  return blocks;
}

auto* kernel_of(int num_lanes) {
  switch (num_lanes) {
    case 2:
      return norm_heads_gradient_kernel<2>;
    case 4:
      return norm_heads_gradient_kernel<4>;
    case 8:
      return norm_heads_gradient_kernel<8>;
    case 16:
      return norm_heads_gradient_kernel<16>;
    default:
      return norm_heads_gradient_kernel<32>;
  }
}

}  // namespace

int64_t norm_heads_gradient_workspace_bytes(int64_t head_dim) {
  return kNumBlocks * head_dim * static_cast<int64_t>(sizeof(float));
}

void norm_heads_gradient_cuda(const NormHeadsGradientParams& params, CudaStream stream) {
  expect_head_groups("norm_heads_gradient", params.group, params.num_groups, params.row_stride,
                     params.head_dim, params.num_tokens);
  MSA_CHECK(params.gradient_stride % kEight == 0,
            "norm_heads_gradient: heads begin at multiples of 8 numbers, got gradient rows of ",
            params.gradient_stride);
  const auto queue = static_cast<cudaStream_t>(stream);
  const GroupBlocks blocks = blocks_of(params);
  launch_dependent(kernel_of(lanes_of_head(params.head_dim)), kNumBlocks, kHeadThreads, 0, queue,
                   params, blocks);
  expect_launched("norm_heads_gradient");
  SumPartsParams sums{.parts = static_cast<const float*>(params.workspace),
                      .num_sums = params.num_groups,
                      .width = params.head_dim};
  static_assert(kMostHeadGroups <= kMostPartSums);
  for (int g = 0; g < params.num_groups; ++g) {
    sums.sum[g] = params.group[g].weight == nullptr ? nullptr : params.group[g].weight_gradient;
    sums.first_row[g] = blocks.first[g];
    sums.first_row[g + 1] = blocks.first[g + 1];
  }
  sum_parts(sums, queue);
  expect_launched("norm_heads_gradient");
}

}  // namespace msa::kernels
