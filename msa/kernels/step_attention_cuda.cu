// The rows of the cache are shared among blocks, and 16 at a time among their warps. A warp holds
// its rows in registers in the very places that the tensor cores want, so nothing waits for shared
// memory; rows are asked for before the kernel in front has ended. Both products are transposed:
// keys and values are the tall operand, the heads that share a kv head the columns. The blocks of a
// kv head are a cluster and merge their parts, in the order of the rows, through each other's
// shared memory.

#include <algorithm>

#include "msa/kernels/cluster.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/device_code.cuh"
#include "msa/kernels/step_attention.h"
#include "msa/kernels/step_attention_heads.cuh"

namespace msa::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpThreads;
constexpr int kLeastUnits = 4;  // of a block, so that there is less to merge
constexpr int kSplits = 8;      // blocks of a cluster, which share the rows

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define MSA_CLUSTER
#else
#define MSA_CLUSTER __cluster_dims__(kSplits, 1, 1)
#endif

template <int kDim>
struct Shared {
  StepHeads<kDim> heads;
  float2 state[kWarps][kHeads];
  float2 block_state[kHeads];  // largest score, sum of numerators
  float2 block_sum[kHeads][kDim / 2];
};

/// Adds up what the first `num_splits` blocks of the cluster have and writes this block's share of
/// the result.
template <int kDim>
__device__ void merge_blocks(const StepAttentionParams& p, const Shared<kDim>& shared,
                             const HeadRange& range, int split, int num_splits) {
  const int count = range.count * kDim / 2;
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
    const float2 value = merge_splits(state, sum, num_splits);
    if (pair * 2 < p.head_dim) {
      *reinterpret_cast<float2*>(p.out + (range.first + head) * p.head_dim + pair * 2) = value;
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

  const HeadRange range = HeadRange::of(static_cast<int>(blockIdx.y), static_cast<int>(p.num_heads),
                                        static_cast<int>(p.num_kv_heads));
  Unit<kDim> unit;
  load_first_unit(p, unit, range.kv_head, begin + warp, end, num_rows, lane);
  StepAngles<kDim> angles;
  angles.load(p, lane);
  if (range.count < kHeads || p.head_dim < kDim) {
    // Heads and values that are not there are zero.
    auto* zeroed = reinterpret_cast<uint4*>(&shared.heads);
    constexpr int kCount = static_cast<int>(sizeof(shared.heads) / sizeof(uint4));
    for (int i = static_cast<int>(threadIdx.x); i < kCount; i += kThreads) zeroed[i] = {};
    __syncthreads();
  }

  await_launched_before();
  release_launched_after();
  const int64_t own_row = (num_rows * p.num_kv_heads + range.kv_head) * p.head_dim;
  prepare_heads(p, shared.heads, range, split == num_splits - 1, own_row, angles, kWarps, warp,
                lane);
  __syncthreads();
  const WarpSum<kDim> mine =
      sum_units(p, unit, shared.heads, range.kv_head, begin + warp, end, num_rows, kWarps, lane);
  merge_warps(
      shared.state, mine, reinterpret_cast<float*>(memory), range.count, min(kWarps, end - begin),
      kThreads, [] { __syncthreads(); },
      [&](int head, int pair, float2 state, float2 sum) {
        if (pair == 0) shared.block_state[head] = state;
        shared.block_sum[head][pair] = sum;
      });
  sync_cluster();
  merge_blocks<kDim>(p, shared, range, split, num_splits);
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
