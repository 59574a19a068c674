#pragma once
// A head on kLanes neighbouring lanes: each has four numbers of the first half and the four that
// they are rotated with. Lanes beyond the head have zeros.

#include "msa/kernels/norm_heads.h"
#include "msa/kernels/row_numbers.cuh"

namespace msa::kernels {

constexpr int kHeadThreads = 256;

constexpr int kFour = 4;

/// The two fours of a lane as they are in memory.
struct HeadFours {
  __device__ void load(const BFloat16* first, int64_t half) {
    low = __ldcg(reinterpret_cast<const uint2*>(first));
    high = __ldcg(reinterpret_cast<const uint2*>(first + half));
  }

  uint2 low = {};
  uint2 high = {};
};

__device__ inline void widen_four(const uint2& packed, float (&numbers)[kFour]) {
  const float2 first = widen_pair(packed.x);
  const float2 second = widen_pair(packed.y);
  numbers[0] = first.x;
  numbers[1] = first.y;
  numbers[2] = second.x;
  numbers[3] = second.y;
}

__device__ inline void write_four(BFloat16* row, const float (&numbers)[kFour]) {
  *reinterpret_cast<uint2*>(row) = {narrow_pair(numbers[0], numbers[1]),
                                    narrow_pair(numbers[2], numbers[3])};
}

/// Reads weights and tables, which never change and are read by many.
__device__ inline void read_four(const float* row, float (&numbers)[kFour]) {
  const float4 values = __ldg(reinterpret_cast<const float4*>(row));
  numbers[0] = values.x;
  numbers[1] = values.y;
  numbers[2] = values.z;
  numbers[3] = values.w;
}

/// The heads of a group are done in parts of up to kMost, so that what they share is read once for
/// several: the token's angles.
template <int kMost>
struct HeadParts {
  template <typename Group>
  __host__ __device__ explicit HeadParts(const Group& group)
      : num_heads(static_cast<int>(group.num_heads)),
        count((num_heads + kMost - 1) / kMost),
        heads(count == 0 ? 0 : (num_heads + count - 1) / count) {}

  __device__ int first_head(int part) const { return part * heads; }
  __device__ int heads_of(int part) const { return min(heads, num_heads - part * heads); }

  int num_heads;
  int count;
  int heads;  // of a part, but the last may have fewer
};

/// Every lane of a head receives the sum over them.
template <int kLanes>
__device__ float head_sum(float value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, step);
  }
  return value;
}

/// Lanes that a head takes: a power of two.
constexpr int lanes_of_head(int64_t head_dim) {
  int lanes = 1;
  while (lanes * 2 * kFour < head_dim) lanes *= 2;
  return lanes;
}

template <typename Group>
void expect_head_groups(const char* what, const Group* group, int num_groups, int64_t row_stride,
                        int64_t head_dim, int64_t num_tokens) {
  MSA_CHECK(head_dim > 0 && head_dim <= kLargestLearnedHead && head_dim % (2 * kEight) == 0, what,
            ": heads have a multiple of 16 numbers up to ", kLargestLearnedHead, ", got ",
            head_dim);
  MSA_CHECK(num_groups > 0 && num_groups <= kMostHeadGroups, what, ": 1 to ", kMostHeadGroups,
            " groups of heads, got ", num_groups);
  int64_t num_heads = 0;
  for (int i = 0; i < num_groups; ++i) {
    MSA_CHECK(row_stride % kEight == 0 && group[i].first_column % kEight == 0, what,
              ": heads begin at multiples of 8 numbers, got column ", group[i].first_column, " of ",
              row_stride);
    num_heads += group[i].num_heads;
  }
  MSA_CHECK(num_heads > 0 && num_tokens * num_heads <= 0x7fffffff, what, ": ", num_tokens,
            " tokens of ", num_heads, " heads are too many for one launch");
}

}  // namespace msa::kernels
