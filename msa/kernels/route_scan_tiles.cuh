#pragma once
// How a scan in tiles is laid out, which tiles a block multiplies, and what becomes of their sums.

#include <cuda_runtime.h>

#include <cstdint>

#include "msa/kernels/chunk_scores.cuh"
#include "msa/kernels/route_scan_tiles.h"

namespace msa::kernels {

constexpr int kCluster = 2;  // blocks
constexpr int kGroups = 2;   // of four warps, in a block
constexpr int kGroupChunks = 128;
constexpr int kInstructionChunks = 64;
constexpr int kParts = kGroupChunks / kInstructionChunks;
constexpr int kTileChunks = kGroups * kGroupChunks;
constexpr int kLaneRows = 2 * kParts;  // rows of a group's sums that a lane sees: lane / 4 + 8 h of
                                       // its warp's 16 in each part

/// What becomes of the sums: scores of chunks that are kept.
struct ScanFacts {
  const float* key_scale;
  const float* token_scale;
  const int32_t* block_owner;
  uint32_t* chunk_score;
  int64_t num_chunks;
  int num_blocks;  // of kTokenStep tokens
};

/// Work is cut into items: kCluster products of a tile of keys and one of tokens. They have either
/// the keys in common or the tokens.
struct TileScan {
  ScanFacts facts;
  int64_t num_items;
  int token_groups;  // items with the same keys
  bool shares_keys;
  int num_slices;  // of a row
  int num_stages;  // of the ring
};

/// The tiles of a block, item after item. Items with the same keys follow each other.
struct TileWalk {
  int64_t item;
  int64_t step;
  int64_t key_group;
  int64_t key_step;
  int token_group;
  int token_step;
  int rank;  // in the cluster

  __device__ explicit TileWalk(const TileScan& p) {
    rank = static_cast<int>(blockIdx.x) % kCluster;
    item = blockIdx.x / kCluster;
    step = gridDim.x / kCluster;
    key_group = item / p.token_groups;
    key_step = step / p.token_groups;
    token_group = static_cast<int>(item % p.token_groups);
    token_step = static_cast<int>(step % p.token_groups);
  }
  __device__ void advance(const TileScan& p) {
    item += step;
    key_group += key_step;
    token_group += token_step;
    if (token_group >= p.token_groups) {
      token_group -= p.token_groups;
      ++key_group;
    }
  }
  __device__ int64_t key_tile(const TileScan& p) const {
    return p.shares_keys ? key_group : key_group * kCluster + rank;
  }
  __device__ int token_tile(const TileScan& p) const {
    return p.shares_keys ? token_group * kCluster + rank : token_group;
  }
};

/// The chunk whose score a lane keeps: that of row lane / 4 + 8 h + 64 part of its warp, where
/// lane % 4 = 2 part + h.
struct LaneChunk {
  int64_t place;
  float scale;

  /// Starts loading.
  template <bool kHasScale>
  __device__ void load(const ScanFacts& p, int64_t first_chunk, int lane) {
    place = first_chunk + lane / 4 + lane % 2 * 8 + lane % 4 / 2 * 64;
    scale = kHasScale && place < p.num_chunks ? p.key_scale[place] : 1.0F;
  }
};

/// The questions of blocks of tokens that are multiplied together. Lane n brings block n's, -1
/// behind the last. The first and the last may have tokens elsewhere, too.
struct BlockOwners {
  int owner;
  int before;  // the question of the block before the first, or -1
  int behind;  // and behind the last

  __device__ BlockOwners(const ScanFacts& p, int first_block, int count, int lane) {
    const auto at = [&](int block) {
      return block >= 0 && block < p.num_blocks ? p.block_owner[block] : -1;
    };
    owner = lane < count ? at(first_block + lane) : -1;
    before = at(first_block - 1);
    behind = at(first_block + count);
  }
};

/// The larger of what this lane and that `step` further hold, for the rows that stay with it.
__device__ inline float fold_lanes(float even, float odd, int lane, int step) {
  const bool is_odd = (lane & step) != 0;
  const float other = __shfl_xor_sync(kAllLanes, is_odd ? even : odd, step);
  return fmaxf(is_odd ? odd : even, other);
}

/// The score of the lane's chunk: the best of its row, which lanes % 4 share, times its scale.
__device__ inline float score_of_lane(const LaneChunk& chunk, const float (&best)[kLaneRows],
                                      int lane) {
  const float upper = fold_lanes(best[0], best[1], lane, 1);
  const float lower = fold_lanes(best[2], best[3], lane, 1);
  return fold_lanes(upper, lower, lane, 2) * chunk.scale;
}

/// Calls keep(question, score of the lane's chunk) for the questions of a tile's tokens, from
/// `first_block` on. Lane n brings the owner of block n, -1 behind the last.
template <typename Sum, int kTokens, typename Keep>
__device__ void keep_scores(const ScanFacts& p, const LaneChunk& chunk,
                            const Sum (&sum)[kParts][kTokens / 2], int first_block, int owner,
                            int lane, const Keep& keep) {
  constexpr int kBlocks = kTokens / static_cast<int>(kTokenStep);
  const int next_owner = __shfl_down_sync(kAllLanes, owner, 1);
  const bool is_last = owner >= 0 && (lane == kBlocks - 1 || next_owner != owner);
  const uint32_t last_blocks = __ballot_sync(kAllLanes, is_last);
  const int last_scale = p.num_blocks - first_block - 1;
  const auto* scales =
      reinterpret_cast<const float2*>(p.token_scale + first_block * kTokenStep) + lane % 4;
  const auto scale_of = [&](int n) {
    return kIsInt8<Sum> ? scales[min(n, last_scale) * 4] : float2{1.0F, 1.0F};
  };
  float best[kLaneRows] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  float2 next_scale = scale_of(0);
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    const float2 scale = next_scale;
    if (n + 1 < kBlocks) next_scale = scale_of(n + 1);
#pragma unroll
    for (int i = 0; i < kLaneRows; ++i) {
      auto left = static_cast<float>(sum[i / 2][n * 4 + i % 2 * 2]);
      auto right = static_cast<float>(sum[i / 2][n * 4 + i % 2 * 2 + 1]);
      if constexpr (kIsInt8<Sum>) {
        left *= scale.x;
        right *= scale.y;
      }
      best[i] = fmaxf(best[i], fmaxf(left, right));
    }
    if ((last_blocks >> n & 1U) != 0) {
      keep(__shfl_sync(kAllLanes, owner, n), score_of_lane(chunk, best, lane));
#pragma unroll
      for (float& value : best) value = -INFINITY;
    }
  }
}

}  // namespace msa::kernels
