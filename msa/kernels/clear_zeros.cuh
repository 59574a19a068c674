#pragma once
// Parts of a routing's scratch that begin as zeros, filled beside other work.

#include <algorithm>

#include "msa/kernels/route_batch_parts.h"

namespace msa::kernels {

/// Blocks that prepare queries, one a token, and behind them those that fill.
inline unsigned num_prepare_blocks(const RouteBatchSpace& space, int multiprocessors) {
  constexpr int64_t kBlockBytes = 16 * 1024;
  constexpr int kBlocksEach = 8;
  const int64_t wanted = (space.early_zeros.num_bytes + kBlockBytes - 1) / kBlockBytes;
  return static_cast<unsigned>(space.num_tokens +
                               std::min<int64_t>(wanted, kBlocksEach * multiprocessors));
}

/// The share of block `block` of `num_blocks`.
__device__ inline void clear_zeros(const ZeroBytes& zeros, unsigned block, unsigned num_blocks) {
  auto* memory = reinterpret_cast<uint4*>(zeros.begin);
  const int64_t step = static_cast<int64_t>(num_blocks) * blockDim.x;
  const int64_t first = static_cast<int64_t>(block) * blockDim.x + threadIdx.x;
  for (int64_t i = first; i < zeros.num_bytes / 16; i += step) memory[i] = uint4{};
}

}  // namespace msa::kernels
