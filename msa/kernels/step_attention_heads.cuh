#pragma once
// The heads of a decoding step's attention that share a kv head, as a block computes them: norm and
// rotation before the products, and the sum over warps behind them.

#include "msa/kernels/step_attention.h"
#include "msa/kernels/step_attention_unit.cuh"

namespace msa::kernels {

constexpr int kHeads = 8;       // of a block: columns of a product
constexpr int kSumPadding = 4;  // heads begin in different banks
constexpr float kLog2E = 1.44269504F;

template <int kDim>
struct StepHeads {
  uint4 query[kHeads][kDim / kPartValues + 4];  // the padding shifts a row by half the banks
  uint4 key[kDim / kPartValues];                // of this token
  uint4 value[kDim / kPartValues];
};

/// Query heads [first, first + count) and their kv head.
struct HeadRange {
  int kv_head;
  int first;
  int count;
  bool leads;  // the first range of the kv head

  /// Range `column` of ceil(H / G / kHeads) for each kv head.
  __device__ static HeadRange of(int column, int num_heads, int num_kv_heads) {
    const int group = num_heads / num_kv_heads;
    const int ranges = (group + kHeads - 1) / kHeads;
    const int kv_head = column / ranges;
    const int in_group = column % ranges * kHeads;
    return {kv_head, kv_head * group + in_group, min(group - in_group, kHeads), in_group == 0};
  }
};

/// A lane's part of the angles of a position.
template <int kDim>
struct StepAngles {
  static constexpr int kPairs = kDim / 64;
  float cosine[kPairs];
  float sine[kPairs];

  __device__ void load(const StepAttentionParams& p, int lane) {
    const int64_t half = p.head_dim / 2;
    const int64_t first = *p.position * half;
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      const int i = lane + j * kWarpThreads;
      cosine[j] = i < half ? p.cosine[first + i] : 0.0F;
      sine[j] = i < half ? p.sine[first + i] : 0.0F;
    }
  }
};

/// Norm and rotation of the heads of this token, by `num_warps` warps, each a head at a time:
/// queries and, where the block `is_owner` of the last rows, key and value. The leading range
/// writes them to the cache, whose row starts at `own_row`.
template <int kDim>
__device__ void prepare_heads(const StepAttentionParams& p, StepHeads<kDim>& shared,
                              const HeadRange& range, bool is_owner, int64_t own_row,
                              const StepAngles<kDim>& angles, int num_warps, int warp, int lane) {
  constexpr int kPairs = StepAngles<kDim>::kPairs;
  const int half = static_cast<int>(p.head_dim / 2);
  for (int task = warp; task < range.count + (is_owner ? 2 : 0); task += num_warps) {
    const bool is_key = task == range.count;
    const bool is_value = task == range.count + 1;
    const int64_t row = is_key     ? range.kv_head
                        : is_value ? p.num_kv_heads + range.kv_head
                                   : 2 * p.num_kv_heads + range.first + task;
    const float* x = p.joint + row * p.head_dim;
    const float* weight = is_key ? p.k_norm : p.q_norm;
    float a[kPairs];
    float b[kPairs];
    float weight_a[kPairs];
    float weight_b[kPairs];
    float squares = 0;
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      const int i = lane + j * kWarpThreads;
      const bool is_inside = i < half;
      a[j] = is_inside ? __ldcg(x + i) : 0.0F;
      b[j] = is_inside ? __ldcg(x + i + half) : 0.0F;
      weight_a[j] = is_inside ? weight[i] : 0.0F;
      weight_b[j] = is_inside ? weight[i + half] : 0.0F;
      squares += a[j] * a[j] + b[j] * b[j];
    }
    const float norm = rsqrtf(warp_sum(squares) / static_cast<float>(p.head_dim) + p.eps);
    auto* to = reinterpret_cast<BFloat16*>(is_key     ? shared.key
                                           : is_value ? shared.value
                                                      : shared.query[task]);
    BFloat16* cache = (is_key ? p.key : p.value) + own_row;
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      const int i = lane + j * kWarpThreads;
      if (i >= half) continue;
      float first = a[j];
      float second = b[j];
      if (!is_value) {
        const float normal_a = a[j] * norm * weight_a[j];
        const float normal_b = b[j] * norm * weight_b[j];
        first = normal_a * angles.cosine[j] - normal_b * angles.sine[j];
        second = normal_b * angles.cosine[j] + normal_a * angles.sine[j];
      }
      const uint32_t both = narrow_pair(first, second);
      const BFloat16 low{static_cast<uint16_t>(both & 0xffffU)};
      const BFloat16 high{static_cast<uint16_t>(both >> 16)};
      to[i] = low;
      to[i + half] = high;
      if ((is_key || is_value) && range.leads) {
        cache[i] = low;
        cache[i + half] = high;
      }
    }
  }
}

/// Asks for the first unit of a warp that takes every `num_warps`-th of units [begin, end).
template <int kDim>
__device__ void load_first_unit(const StepAttentionParams& p, Unit<kDim>& unit, int kv_head,
                                int unit_number, int end, int num_rows, int lane) {
  if (unit_number >= end) return;
  const int64_t stride = p.num_kv_heads * p.head_dim;
  const int first = unit_number * kUnitRows;
  unit.load_keys(p.key + kv_head * p.head_dim, first, num_rows, stride, p.head_dim, lane);
  unit.load_values(p.value + kv_head * p.head_dim, first, num_rows, stride, p.head_dim, lane);
}

/// What a warp has of the heads that were prepared: over units unit_number, unit_number + num_warps
/// and so on below `end`, of which it holds the first.
template <int kDim>
__device__ WarpSum<kDim> sum_units(const StepAttentionParams& p, Unit<kDim>& unit,
                                   const StepHeads<kDim>& shared, int kv_head, int unit_number,
                                   int end, int num_rows, int num_warps, int lane) {
  const int64_t stride = p.num_kv_heads * p.head_dim;
  const BFloat16* keys = p.key + kv_head * p.head_dim;
  const BFloat16* values = p.value + kv_head * p.head_dim;
  uint4 query[Unit<kDim>::kKeyParts];
#pragma unroll
  for (int j = 0; j < Unit<kDim>::kKeyParts; ++j) {
    query[j] = shared.query[lane / 4][lane % 4 + 4 * j];
  }
  const float factor = p.scale * kLog2E;
  WarpSum<kDim> mine;
  for (int u = unit_number; u < end; u += num_warps) {
    const int own = num_rows - u * kUnitRows;  // this token's row, in this unit if below kUnitRows
    if (own < kUnitRows) unit.put_row(own, shared.key, shared.value, lane);
    const int next = u + num_warps;
    uint32_t low;
    uint32_t high;
    mine.weigh(unit, query, factor, own + 1, lane, low, high);
    if (next < end) {
      unit.load_keys(keys, next * kUnitRows, num_rows, stride, p.head_dim, lane);
    }
    mine.add_values(unit, low, high);
    if (next < end) {
      unit.load_values(values, next * kUnitRows, num_rows, stride, p.head_dim, lane);
    }
  }
  return mine;
}

/// Adds up what the first `num_warps` of `num_threads / 32` warps have, through `sums` of
/// [num_warps, num_heads, kDim + kSumPadding] and `state` in shared memory. Calls
/// keep(head, pair, {largest score, sum of numerators}, sums of two values) from the thread that
/// has them.
template <int kDim, typename Meet, typename Keep>
__device__ void merge_warps(float2 (*state)[kHeads], const WarpSum<kDim>& mine, float* sums,
                            int num_heads, int num_warps, int num_threads, const Meet& meet,
                            const Keep& keep) {
  constexpr int kStride = kDim + kSumPadding;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  if (warp < num_warps) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float total = mine.total[h];
      total += __shfl_xor_sync(kAllLanes, total, 4);
      total += __shfl_xor_sync(kAllLanes, total, 8);
      total += __shfl_xor_sync(kAllLanes, total, 16);
      const int head = lane % 4 * 2 + h;
      if (head >= num_heads) continue;
      if (lane < 4) state[warp][head] = {mine.best[h], total};
      float* to = sums + (warp * num_heads + head) * kStride;
#pragma unroll
      for (int t = 0; t < WarpSum<kDim>::kTiles; t += 4) {
        *reinterpret_cast<float4*>(to + mine.lower_place(lane) + t) = {
            mine.sum[t][h], mine.sum[t + 1][h], mine.sum[t + 2][h], mine.sum[t + 3][h]};
        *reinterpret_cast<float4*>(to + mine.upper_place(lane) + t) = {
            mine.sum[t][h + 2], mine.sum[t + 1][h + 2], mine.sum[t + 2][h + 2],
            mine.sum[t + 3][h + 2]};
      }
    }
  }
  meet();
  for (int i = static_cast<int>(threadIdx.x); i < num_heads * kDim / 2; i += num_threads) {
    const int head = i / (kDim / 2);
    const int pair = i % (kDim / 2);
    float most = -INFINITY;
    for (int w = 0; w < num_warps; ++w) most = fmaxf(most, state[w][head].x);
    float total = 0;
    float2 value{};
    for (int w = 0; w < num_warps; ++w) {
      const float weight = exp2_fast(state[w][head].x - most);
      const float2 part =
          *reinterpret_cast<const float2*>(sums + (w * num_heads + head) * kStride + pair * 2);
      total += weight * state[w][head].y;
      value.x += weight * part.x;
      value.y += weight * part.y;
    }
    keep(head, pair, float2{most, total}, value);
  }
}

/// The parts of a head's rows, in their order: weights each by its largest score.
template <int kMostSplits>
__device__ float2 merge_splits(const float2 (&state)[kMostSplits], const float2 (&sum)[kMostSplits],
                               int num_splits) {
  float most = state[0].x;
#pragma unroll
  for (int s = 1; s < kMostSplits; ++s) {
    if (s < num_splits) most = fmaxf(most, state[s].x);
  }
  float total = 0;
  float2 value{};
#pragma unroll
  for (int s = 0; s < kMostSplits; ++s) {
    const float weight = s < num_splits ? exp2_fast(state[s].x - most) : 0.0F;
    total += weight * state[s].y;
    value.x += weight * sum[s].x;
    value.y += weight * sum[s].y;
  }
  return {value.x / total, value.y / total};
}

}  // namespace msa::kernels
