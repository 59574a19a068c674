#pragma once
// The part of a routing's scratch that begins as zeros: filled beside the queries' preparation.

#include <algorithm>

#include "msa/kernels/route_batch_parts.h"

namespace msa::kernels {

/// Blocks that prepare queries, one a token, and behind them those that fill.
inline unsigned num_prepare_blocks(const RouteBatchSpace& space, int multiprocessors) {
  constexpr int64_t kBlockBytes = 16 * 1024;
  constexpr int kBlocksEach = 8;
  const int64_t wanted = (space.num_zeros + kBlockBytes - 1) / kBlockBytes;
  return static_cast<unsigned>(space.num_tokens +
                               std::min<int64_t>(wanted, kBlocksEach * multiprocessors));
}

/// By each of the blocks behind the tokens: its share.
__device__ inline void clear_zeros(const RouteBatchSpace& space) {
  auto* memory = reinterpret_cast<uint4*>(space.zeros);
  const auto num_tokens = static_cast<unsigned>(space.num_tokens);
  const int64_t step = static_cast<int64_t>(gridDim.x - num_tokens) * blockDim.x;
  const int64_t first = static_cast<int64_t>(blockIdx.x - num_tokens) * blockDim.x;
  for (int64_t i = first + threadIdx.x; i < space.num_zeros / 16; i += step) memory[i] = uint4{};
}

}  // namespace msa::kernels
