// A row is held in the registers of a block, or of a cluster of blocks that each have a share of
// it. Every thread sums its exponentials relative to its own largest logit, and these sums are
// combined in one step: the largest of all and the sum relative to it.

#include <cfloat>

#include "msa/kernels/cluster.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/row_numbers.cuh"
#include "msa/kernels/token_loss.h"

namespace msa::kernels {
namespace {

constexpr int kMostThreads = 512;
constexpr int kMostWarps = kMostThreads / kWarpThreads;
constexpr int kThreadsTogether = 1024;  // on a multiprocessor: each has 64 registers
constexpr int kMostBlocks = 8;          // of a cluster
constexpr int kFewEights = 4;           // that a thread holds
constexpr int kManyEights = 10;
constexpr uint32_t kLowest = 0xff7fff7f;  // two of the lowest bfloat16: their powers are 0
constexpr float kLog2E = 1.442695041F;
constexpr float kLn2 = 0.6931471806F;

/// The sum of 2^(v - highest) over some numbers v, the largest of which is `highest`.
struct PowerSum {
  float highest = -FLT_MAX;
  float sum = 0;
};

__device__ float power_of_two(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

__device__ PowerSum relative_to(const PowerSum& part, float highest) {
  return {highest, part.sum * power_of_two(part.highest - highest)};
}

__device__ PowerSum warp_power_sum(const PowerSum& part) {
  const float highest = warp_max(part.highest);
  return {highest, warp_sum(relative_to(part, highest).sum)};
}

/// Adds eight logits, whose powers are of e, to a part that is relative to none smaller.
__device__ void add_powers(const uint4& packed, PowerSum& part) {
  float logits[kEight];
  widen_eight(packed, logits);
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    part.sum += power_of_two(fmaf(logits[i], kLog2E, -part.highest));
  }
}

__device__ uint32_t larger_pair(uint32_t a, uint32_t b) {
  uint32_t larger;
  asm("max.bf16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
  return larger;
}

/// The largest of eight logits as a power of two, not below that of an empty sum.
__device__ float highest_power(const uint4& packed) {
  const float2 pair =
      widen_pair(larger_pair(larger_pair(packed.x, packed.y), larger_pair(packed.z, packed.w)));
  return fmaxf(fmaxf(pair.x, pair.y) * kLog2E, PowerSum{}.highest);
}

/// Over all threads of the block.
__device__ PowerSum block_power_sum(PowerSum part, PowerSum* shared) {
  const unsigned lane = threadIdx.x % kWarpThreads;
  part = warp_power_sum(part);
  if (lane == 0) shared[threadIdx.x / kWarpThreads] = part;
  __syncthreads();
  return warp_power_sum(lane < blockDim.x / kWarpThreads ? shared[lane] : PowerSum{});
}

/// What a row's gradient is made of.
struct RowGradient {
  /// Writes that of eight logits in their place, from `column` on.
  __device__ void write_eight_at(unsigned column, const uint4& packed) const {
    float gradient[kEight];
    widen_eight(packed, gradient);
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      gradient[i] = weight * power_of_two(fmaf(gradient[i], kLog2E, -logarithm));
    }
    if (target < 0) {
      *reinterpret_cast<uint4*>(logits + column) = {};
      return;
    }
    write_eight(logits + column, gradient);
    const unsigned place = static_cast<unsigned>(target) - column;
    if (place < kEight) write_one(logits + target, weight * (target_power() - 1.0F));
  }

  __device__ float target_power() const {
    return power_of_two(fmaf(target_logit, kLog2E, -logarithm));
  }

  __device__ float loss() const {
    return target < 0 ? 0.0F : (logarithm - target_logit * kLog2E) * kLn2;
  }

  BFloat16* logits;
  int target;  // negative: none
  float weight;
  float target_logit;
  float logarithm;  // of the sum of the row's powers, to base 2
};

/// All but the logarithm, read before anything is written: the thread that writes the target's
/// place may be of another block.
__device__ RowGradient read_row(const TokenLossParams& p, int64_t row) {
  RowGradient out{};
  out.logits = p.logits + row * p.vocab_size;
  out.target = static_cast<int>(__ldcg(p.target + row));
  if (out.target >= 0) {
    if (p.weight != nullptr) out.weight = __ldcg(p.weight + row);
    out.target_logit = read_one(out.logits + out.target);
  }
  return out;
}

/// The same bits, though the compiler cannot know it: it would keep widened numbers from one use to
/// the next, which take twice the registers. `zero` is 0.
__device__ uint4 once_more(const uint4& packed, unsigned zero) {
  return {packed.x ^ zero, packed.y ^ zero, packed.z ^ zero, packed.w ^ zero};
}

template <int kEights, int kThreads>
__global__ void __launch_bounds__(kThreads, kThreadsTogether / kThreads)
    held_token_loss_kernel(TokenLossParams p, unsigned num_blocks) {
  __shared__ PowerSum of_warps[kMostWarps];
  __shared__ __align__(8) float2 of_blocks[kMostBlocks];
  if (num_blocks > 1) arrive_at_cluster();
  await_launched_before();
  release_launched_after();
  const unsigned row = blockIdx.x / num_blocks;
  const unsigned block = blockIdx.x % num_blocks;
  const auto vocab_size = static_cast<unsigned>(p.vocab_size);
  const unsigned share = (vocab_size / kEight + num_blocks - 1) / num_blocks * kEight;
  const unsigned end = min((block + 1) * share, vocab_size);
  const unsigned first = block * share + threadIdx.x * kEight;
  constexpr unsigned kStep = kThreads * kEight;
  const BFloat16* logits = p.logits + row * p.vocab_size;
  uint4 held[kEights];
#pragma unroll
  for (int j = 0; j < kEights; ++j) {
    held[j] = {kLowest, kLowest, kLowest, kLowest};
    if (first + j * kStep < end) {
      held[j] = __ldcg(reinterpret_cast<const uint4*>(logits + first + j * kStep));
    }
  }
  RowGradient gradient = read_row(p, row);
  PowerSum part;
#pragma unroll
  for (int j = 0; j < kEights; ++j) part.highest = fmaxf(part.highest, highest_power(held[j]));
#pragma unroll
  for (int j = 0; j < kEights; ++j) add_powers(held[j], part);
  part = block_power_sum(part, of_warps);
  if (num_blocks > 1) {
    const unsigned lane = threadIdx.x % kWarpThreads;
    await_cluster();  // all blocks have begun: their shared memory is theirs
    if (threadIdx.x < num_blocks) {
      store_to_block(&of_blocks[block], static_cast<int>(lane), {part.highest, part.sum});
    }
    sync_cluster();  // after it nobody needs another block
    part = {};
    if (lane < num_blocks) part = {of_blocks[lane].x, of_blocks[lane].y};
    part = warp_power_sum(part);
  }
  gradient.logarithm = part.highest + __log2f(part.sum);
  if (block == 0 && threadIdx.x == 0) p.loss[row] = gradient.loss();
#pragma unroll
  for (int j = 0; j < kEights; ++j) {
    if (first + j * kStep >= end || p.weight == nullptr) break;
    gradient.write_eight_at(first + j * kStep, once_more(held[j], blockIdx.y));
  }
}

/// The same for rows that are too long to be held: they are read once more.
__global__ void __launch_bounds__(kMostThreads) long_token_loss_kernel(TokenLossParams p) {
  __shared__ PowerSum of_warps[kMostWarps];
  await_launched_before();
  release_launched_after();
  const auto vocab_size = static_cast<unsigned>(p.vocab_size);
  const unsigned first = threadIdx.x * kEight;
  constexpr unsigned kStep = kMostThreads * kEight;
  RowGradient gradient = read_row(p, blockIdx.x);
  PowerSum part;
#pragma unroll 4
  for (unsigned column = first; column < vocab_size; column += kStep) {
    const uint4 packed = __ldcg(reinterpret_cast<const uint4*>(gradient.logits + column));
    part = relative_to(part, fmaxf(part.highest, highest_power(packed)));
    add_powers(packed, part);
  }
  part = block_power_sum(part, of_warps);  // everybody has read the row by then
  gradient.logarithm = part.highest + __log2f(part.sum);
  if (threadIdx.x == 0) p.loss[blockIdx.x] = gradient.loss();
  if (p.weight == nullptr) return;
#pragma unroll 4
  for (unsigned column = first; column < vocab_size; column += kStep) {
    gradient.write_eight_at(column,
                            __ldcg(reinterpret_cast<const uint4*>(gradient.logits + column)));
  }
}

/// A cluster of `num_blocks` blocks a row.
template <int kEights, int kThreads>
void launch_held(const TokenLossParams& params, int64_t num_blocks, cudaStream_t stream) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {static_cast<unsigned>(num_blocks), 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(params.num_tokens * num_blocks);
  config.blockDim = kThreads;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9 ? 2 : 0;
  expect_success(cudaLaunchKernelEx(&config, held_token_loss_kernel<kEights, kThreads>, params,
                                    static_cast<unsigned>(num_blocks)),
                 "token_loss");
}

}  // namespace

void token_loss_cuda(const TokenLossParams& params, CudaStream stream) {
  if (params.num_tokens == 0) return;
  MSA_CHECK(params.vocab_size > 0 && params.vocab_size % kEight == 0, "token_loss: rows of ",
            params.vocab_size, " logits are not a multiple of 8");
  MSA_CHECK(params.num_tokens <= 0x7fffffff / kMostBlocks, "token_loss: ", params.num_tokens,
            " rows are too many for one launch");
  const auto queue = static_cast<cudaStream_t>(stream);
  const int64_t num_eights = params.vocab_size / kEight;
  if (num_eights <= kFewEights * 128) return launch_held<kFewEights, 128>(params, 1, queue);
  if (num_eights <= kFewEights * 256) return launch_held<kFewEights, 256>(params, 1, queue);
  if (num_eights <= kFewEights * 512) return launch_held<kFewEights, 512>(params, 1, queue);
  const int64_t most_blocks =
      device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9 ? kMostBlocks : 1;
  int64_t num_blocks = 1;
  while (num_blocks < most_blocks && num_blocks * kManyEights * kMostThreads < num_eights) {
    num_blocks *= 2;
  }
  if (num_blocks * kManyEights * kMostThreads >= num_eights) {
    return launch_held<kManyEights, kMostThreads>(params, num_blocks, queue);
  }
  launch_dependent(long_token_loss_kernel, static_cast<unsigned>(params.num_tokens), kMostThreads,
                   0, queue, params);
  expect_launched("token_loss");
}

}  // namespace msa::kernels
