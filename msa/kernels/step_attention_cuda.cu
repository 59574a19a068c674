// The rows of the cache are shared among blocks, and 16 at a time among their warps. A warp holds
// its rows in registers in the very places that the tensor cores want, so nothing waits for shared
// memory; rows are asked for before the kernel in front has ended. Both products are transposed:
// keys and values are the tall operand, the heads that share a kv head the columns. The blocks of a
// kv head are a cluster and merge their parts, in the order of the rows, through each other's
// shared memory.

#include <algorithm>
#include <cstddef>

#include "msa/kernels/cluster.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/device_code.cuh"
#include "msa/kernels/step_attention.h"
#include "msa/kernels/step_attention_unit.cuh"

namespace msa::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpThreads;
constexpr int kHeads = 8;       // of a block: columns of a product
constexpr int kLeastUnits = 4;  // of a block, so that there is less to merge
constexpr int kSplits = 8;      // blocks of a cluster, which share the rows
constexpr int kSumPadding = 4;  // heads begin in different banks
constexpr float kLog2E = 1.44269504F;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define MSA_CLUSTER
#else
#define MSA_CLUSTER __cluster_dims__(kSplits, 1, 1)
#endif

template <int kDim>
struct Shared {
  uint4 query[kHeads][kDim / kPartValues + 4];  // the padding shifts a row by half the banks
  uint4 key[kDim / kPartValues];                // of this token
  uint4 value[kDim / kPartValues];
  float2 state[kWarps][kHeads];
  float2 block_state[kHeads];  // largest score, sum of numerators
  float2 block_sum[kHeads][kDim / 2];
};

/// Norm and rotation of the heads of this token: queries and, in the block that has the last rows,
/// key and value. A warp does a head.
template <int kDim>
__device__ void prepare_heads(const StepAttentionParams& p, Shared<kDim>& shared, int kv_head,
                              int first_head, int num_heads, bool is_owner, bool writes_cache,
                              int64_t own_row, const float (&cosine)[kDim / 64],
                              const float (&sine)[kDim / 64], int warp, int lane) {
  constexpr int kPairs = kDim / 64;  // of a lane
  const int half = static_cast<int>(p.head_dim / 2);
  for (int task = warp; task < num_heads + (is_owner ? 2 : 0); task += kWarps) {
    const bool is_key = task == num_heads;
    const bool is_value = task == num_heads + 1;
    const int64_t row = is_key     ? kv_head
                        : is_value ? p.num_kv_heads + kv_head
                                   : 2 * p.num_kv_heads + first_head + task;
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
      a[j] = is_inside ? x[i] : 0.0F;
      b[j] = is_inside ? x[i + half] : 0.0F;
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
        first = normal_a * cosine[j] - normal_b * sine[j];
        second = normal_b * cosine[j] + normal_a * sine[j];
      }
      const uint32_t both = narrow_pair(first, second);
      const BFloat16 low{static_cast<uint16_t>(both & 0xffffU)};
      const BFloat16 high{static_cast<uint16_t>(both >> 16)};
      to[i] = low;
      to[i + half] = high;
      if ((is_key || is_value) && writes_cache) {
        cache[i] = low;
        cache[i + half] = high;
      }
    }
  }
}

/// Adds up what the first `num_warps` warps have, through `sums` in shared memory.
template <int kDim>
__device__ void merge_warps(Shared<kDim>& shared, const WarpSum<kDim>& mine, float* sums,
                            int num_heads, int num_warps, int warp, int lane) {
  constexpr int kStride = kDim + kSumPadding;
  if (warp < num_warps) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float total = mine.total[h];
      total += __shfl_xor_sync(kAllLanes, total, 4);
      total += __shfl_xor_sync(kAllLanes, total, 8);
      total += __shfl_xor_sync(kAllLanes, total, 16);
      const int head = lane % 4 * 2 + h;
      if (head >= num_heads) continue;
      if (lane < 4) shared.state[warp][head] = {mine.best[h], total};
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
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < num_heads * kDim / 2; i += kThreads) {
    const int head = i / (kDim / 2);
    const int pair = i % (kDim / 2);
    float most = -INFINITY;
    for (int w = 0; w < num_warps; ++w) most = fmaxf(most, shared.state[w][head].x);
    float total = 0;
    float2 value{};
    for (int w = 0; w < num_warps; ++w) {
      const float weight = exp2_fast(shared.state[w][head].x - most);
      const float2 part =
          *reinterpret_cast<const float2*>(sums + (w * num_heads + head) * kStride + pair * 2);
      total += weight * shared.state[w][head].y;
      value.x += weight * part.x;
      value.y += weight * part.y;
    }
    if (pair == 0) shared.block_state[head] = {most, total};
    shared.block_sum[head][pair] = value;
  }
}

/// Adds up what the first `num_splits` blocks of the cluster have and writes this block's share of
/// the result.
template <int kDim>
__device__ void merge_blocks(const StepAttentionParams& p, const Shared<kDim>& shared,
                             int first_head, int num_heads, int split, int num_splits) {
  const int count = num_heads * kDim / 2;
  const int end = count * (split + 1) / num_splits;
  for (int i = count * split / num_splits + static_cast<int>(threadIdx.x); i < end; i += kThreads) {
    const int head = i / (kDim / 2);
    const int pair = i % (kDim / 2);
    float2 state[kSplits];
    float2 sum[kSplits];
#pragma unroll
    for (int s = 0; s < kSplits; ++s) {
      const int block = min(s, num_splits - 1);
      state[s] = load_from_block(shared.block_state + head, block);
      sum[s] = load_from_block(shared.block_sum[head] + pair, block);
    }
    float most = state[0].x;
#pragma unroll
    for (int s = 1; s < kSplits; ++s) most = fmaxf(most, state[s].x);
    float total = 0;
    float2 value{};
#pragma unroll
    for (int s = 0; s < kSplits; ++s) {
      const float weight = s < num_splits ? exp2_fast(state[s].x - most) : 0.0F;
      total += weight * state[s].y;
      value.x += weight * sum[s].x;
      value.y += weight * sum[s].y;
    }
    if (pair * 2 < p.head_dim) {
      *reinterpret_cast<float2*>(p.out + (first_head + head) * p.head_dim + pair * 2) = {
          value.x / total, value.y / total};
    }
  }
}

/// blockIdx: a part of the rows; a column.
template <int kDim>
__global__ void MSA_CLUSTER __launch_bounds__(kThreads)
    step_kernel(const __grid_constant__ StepAttentionParams p) {
  extern __shared__ float4 memory[];  // [kWarps, heads, kDim + kSumPadding] float32
  __shared__ Shared<kDim> shared;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int num_rows = *p.num_rows;
  const int num_units = num_rows / kUnitRows + 1;
  const int num_splits =
      min(static_cast<int>(gridDim.x), (num_units + kLeastUnits - 1) / kLeastUnits);
  const int split = static_cast<int>(blockIdx.x);
  if (split >= num_splits) return;
  const int begin = num_units * split / num_splits;
  const int end = num_units * (split + 1) / num_splits;

  const int group = static_cast<int>(p.num_heads) / static_cast<int>(p.num_kv_heads);
  const int column_blocks = (group + kHeads - 1) / kHeads;
  const int column = static_cast<int>(blockIdx.y);
  const int kv_head = column / column_blocks;
  const int head_in_group = column % column_blocks * kHeads;
  const int first_head = kv_head * group + head_in_group;
  const int num_heads = min(group - head_in_group, kHeads);

  const int64_t stride = p.num_kv_heads * p.head_dim;
  const BFloat16* keys = p.key + kv_head * p.head_dim;
  const BFloat16* values = p.value + kv_head * p.head_dim;
  Unit<kDim> unit;
  if (begin + warp < end) {
    unit.load_keys(keys, (begin + warp) * kUnitRows, num_rows, stride, p.head_dim, lane);
    unit.load_values(values, (begin + warp) * kUnitRows, num_rows, stride, p.head_dim, lane);
  }
  float cosine[kDim / 64];
  float sine[kDim / 64];
  const int64_t half = p.head_dim / 2;
  const int64_t angles = *p.position * half;
#pragma unroll
  for (int j = 0; j < kDim / 64; ++j) {
    const int i = lane + j * kWarpThreads;
    cosine[j] = i < half ? p.cosine[angles + i] : 0.0F;
    sine[j] = i < half ? p.sine[angles + i] : 0.0F;
  }
  if (num_heads < kHeads || p.head_dim < kDim) {
    // Heads and values that are not there are zero.
    auto* zeroed = reinterpret_cast<uint4*>(&shared);
    constexpr int kCount = static_cast<int>(offsetof(Shared<kDim>, state) / sizeof(uint4));
    for (int i = static_cast<int>(threadIdx.x); i < kCount; i += kThreads) zeroed[i] = {};
    __syncthreads();
  }

  await_launched_before();
  release_launched_after();
  const bool is_owner = split == num_splits - 1;
  prepare_heads<kDim>(p, shared, kv_head, first_head, num_heads, is_owner, head_in_group == 0,
                      num_rows * stride + kv_head * p.head_dim, cosine, sine, warp, lane);
  __syncthreads();

  uint4 query[Unit<kDim>::kKeyParts];
#pragma unroll
  for (int j = 0; j < Unit<kDim>::kKeyParts; ++j) {
    query[j] = shared.query[lane / 4][lane % 4 + 4 * j];
  }
  const float factor = p.scale * kLog2E;
  WarpSum<kDim> mine;
  for (int u = begin + warp; u < end; u += kWarps) {
    const int first = u * kUnitRows;
    const int own = num_rows - first;  // in this unit if below kUnitRows
    if (own < kUnitRows) unit.put_row(own, shared.key, shared.value, lane);
    const int next = u + kWarps;
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

  merge_warps(shared, mine, reinterpret_cast<float*>(memory), num_heads, min(kWarps, end - begin),
              warp, lane);
  sync_cluster();
  merge_blocks<kDim>(p, shared, first_head, num_heads, split, num_splits);
  sync_cluster();  // nobody ends while another reads its memory
}

template <int kDim>
void step(const StepAttentionParams& params, CudaStream stream) {
  const int64_t group = params.num_heads / params.num_kv_heads;
  const int64_t columns = params.num_kv_heads * ((group + kHeads - 1) / kHeads);
  const bool has_clusters = device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9;
  const int64_t sum_bytes =
      kWarps * std::min<int64_t>(group, kHeads) * (kDim + kSumPadding) * sizeof(float);
  if (has_clusters) {
    // As the products around it: another division of L1 and shared memory would make them wait.
    expect_success(
        cudaFuncSetAttribute(step_kernel<kDim>, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "step_attention");
  }
  launch_dependent(step_kernel<kDim>,
                   dim3(has_clusters ? kSplits : 1, static_cast<unsigned>(columns)), dim3(kThreads),
                   static_cast<size_t>(sum_bytes), static_cast<cudaStream_t>(stream), params);
  expect_launched("step_attention");
}

}  // namespace

void step_attention_cuda(const StepAttentionParams& params, CudaStream stream) {
  MSA_CHECK(params.head_dim > 0 && params.head_dim <= 128 && params.head_dim % 16 == 0,
            "head_dim must be a multiple of 16 up to 128, got ", params.head_dim);
  MSA_CHECK(params.num_heads > 0 && params.num_kv_heads > 0 && params.num_kv_heads <= 1024 &&
                params.num_heads % params.num_kv_heads == 0,
            "num_heads must be a multiple of num_kv_heads, got ", params.num_heads, " and ",
            params.num_kv_heads);
  if (params.head_dim <= 64) {
    step<64>(params, stream);
  } else {
    step<128>(params, stream);
  }
}

}  // namespace msa::kernels
