#pragma once
// One layer's attention inside a fused step. Kv heads and parts of their rows are shared among
// blocks; the last block of a head to come adds up the parts, in the order of the rows. Only where
// __CUDA_ARCH__ >= 900.

#include "msa/kernels/fused_step_block.cuh"
#include "msa/kernels/step_attention_heads.cuh"

namespace msa::kernels {

constexpr int kStepSplits = 16;         // parts of a head's rows, at most
constexpr int kStepUnits = kStepWarps;  // of a part, at least, so that there is less to merge

/// Parts that blocks leave for the last of their column of heads.
struct StepParts {
  float2* state;   // [columns, kStepSplits, kHeads]
  float2* sum;     // [columns, kStepSplits, kHeads, kDim / 2]
  unsigned* done;  // [columns], zero before and behind
};

template <int kDim>
struct StepAttentionShared {
  StepHeads<kDim> heads;  // values behind head_dim are zero
  float2 state[kStepWarps][kHeads];
  bool is_last;
};

/// Counts the blocks of a column. What those before wrote can be seen.
__device__ inline unsigned count_block(unsigned* done) {
  unsigned before;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;"
               : "=r"(before)
               : "l"(done)
               : "memory");
  return before;
}

/// The last block of a column adds up its parts.
template <int kDim>
__device__ void merge_parts(const StepAttentionParams& p, const StepParts& parts, int column,
                            const HeadRange& range, int num_splits) {
  for (int i = static_cast<int>(threadIdx.x); i < range.count * kDim / 2; i += kStepThreads) {
    const int head = i / (kDim / 2);
    const int pair = i % (kDim / 2);
    float2 state[kStepSplits];
    float2 sum[kStepSplits];
#pragma unroll
    for (int s = 0; s < kStepSplits; ++s) {
      const int row = (column * kStepSplits + min(s, num_splits - 1)) * kHeads + head;
      state[s] = __ldcg(parts.state + row);
      sum[s] = __ldcg(parts.sum + row * (kDim / 2) + pair);
    }
    const float2 value = merge_splits(state, sum, num_splits);
    if (pair * 2 < p.head_dim) {
      *reinterpret_cast<float2*>(p.out + (range.first + head) * p.head_dim + pair * 2) = value;
    }
  }
  if (threadIdx.x == 0) parts.done[column] = 0;
}

/// `p` but for *p.num_rows, which is `num_rows`.
template <int kDim>
__device__ void attend(const StepAttentionParams& p, int num_rows, const StepAngles<kDim>& angles,
                       const StepParts& parts, StepAttentionShared<kDim>& shared,
                       StepBlock& block) {
  const auto num_heads = static_cast<int>(p.num_heads);
  const auto num_kv_heads = static_cast<int>(p.num_kv_heads);
  const int columns = num_kv_heads * ((num_heads / num_kv_heads + kHeads - 1) / kHeads);
  const int num_units = num_rows / kUnitRows + 1;
  const int most_splits = min(kStepSplits, max(static_cast<int>(gridDim.x) / columns, 1));
  const int num_splits = min(most_splits, (num_units + kStepUnits - 1) / kStepUnits);
  bool is_first = true;
  for (int task = static_cast<int>(blockIdx.x); task < columns * num_splits;
       task += static_cast<int>(gridDim.x)) {
    const int column = task / num_splits;
    const int split = task % num_splits;
    const HeadRange range = HeadRange::of(column, num_heads, num_kv_heads);
    const int begin = num_units * split / num_splits;
    const int end = num_units * (split + 1) / num_splits;
    Unit<kDim> unit;
    load_first_unit(p, unit, range.kv_head, begin + block.warp, end, num_rows, block.lane);
    if (is_first) block.await_others();
    is_first = false;
    const int64_t own_row = (num_rows * p.num_kv_heads + range.kv_head) * p.head_dim;
    prepare_heads(p, shared.heads, range, split == num_splits - 1, own_row, angles, kStepWarps,
                  block.warp, block.lane);
    meet_step();
    const WarpSum<kDim> mine = sum_units(p, unit, shared.heads, range.kv_head, begin + block.warp,
                                         end, num_rows, kStepWarps, block.lane);
    merge_warps(
        shared.state, mine, block.sums, range.count, min(kStepWarps, end - begin), kStepThreads,
        [] { meet_step(); },
        [&](int head, int pair, float2 state, float2 sum) {
          if (num_splits > 1) {
            const int row = (column * kStepSplits + split) * kHeads + head;
            if (pair == 0) parts.state[row] = state;
            parts.sum[row * (kDim / 2) + pair] = sum;
          } else if (pair * 2 < p.head_dim) {
            *reinterpret_cast<float2*>(p.out + (range.first + head) * p.head_dim + pair * 2) = {
                sum.x / state.y, sum.y / state.y};
          }
        });
    meet_step();
    if (num_splits == 1) continue;
    if (threadIdx.x == 0) {
      shared.is_last = count_block(parts.done + column) + 1 == static_cast<unsigned>(num_splits);
    }
    meet_step();
    if (!shared.is_last) continue;
    merge_parts<kDim>(p, parts, column, range, num_splits);
    meet_step();
  }
  if (is_first) block.await_others();
}

}  // namespace msa::kernels
