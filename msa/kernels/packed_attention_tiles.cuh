#pragma once
// How attention in tiles is laid out, which tiles a block works on, and what a group of four warps
// holds of one (sm_90a).

#include "msa/kernels/bfloat16_pairs.cuh"
#include "msa/kernels/matrix_fragments.cuh"
#include "msa/kernels/packed_attention.h"
#include "msa/kernels/warpgroup_code.cuh"
#include "msa/kernels/warpgroup_products.cuh"

namespace msa::kernels {

constexpr int kGroups = 2;  // of four warps, in a block
constexpr int kGroupRows = 64;
constexpr int kTileRows = kGroups * kGroupRows;
constexpr int kStepKeys = 128;  // of a step
constexpr int kStages = 2;      // tiles in memory, of queries, keys and values each
constexpr int kHalfColumns = kTileRowBytes / 2;  // a tile of longer rows stands in two halves
constexpr int kHalfBytes = kTileRows * kTileRowBytes;
static_assert(kTileRows == kStepKeys, "tiles of queries, keys and values have one size");

/// Where the copy engine finds them.
struct AttentionMaps {
  CUtensorMap query;  // kTileRows / group queries, of the heads of one kv head
  CUtensorMap key;    // kStepKeys rows of one head
  CUtensorMap value;
};

/// Items are tiles of all kv heads of all sequences; some are not there.
struct AttentionTiles {
  int64_t num_items;
  int num_kv_heads;
  int most_tiles;       // of a sequence
  int group;            // H / G
  uint32_t reciprocal;  // 2^32 / group rounded up
};

/// A tile. A row is a query and one of the heads that share the kv head.
struct TileFacts {
  int kv_head;
  int first_query;  // of the sequence
  int first_key;
  int first_row;  // of the tile, in its sequence
  int num_rows;   // of the sequence
  int num_keys;
  int lead;  // with causal order, query i sees lead + i + 1 keys
  int group;
  uint32_t reciprocal;

  __device__ int query_of(int row) const {
    return group == 1 ? row : static_cast<int>(__umulhi(static_cast<uint32_t>(row), reciprocal));
  }
  __device__ int seen_by(int row, bool is_causal) const {
    return is_causal ? min(num_keys, lead + query_of(row) + 1) : num_keys;
  }
  __device__ int num_steps(bool is_causal) const {
    const int last_row = min(first_row + kTileRows, num_rows) - 1;
    return (max(seen_by(last_row, is_causal), 0) + kStepKeys - 1) / kStepKeys;
  }
};

/// The tiles of a block: one of each round. Every other round goes through the blocks backwards, so
/// that long and short tiles even out. The tiles of a sequence follow each other, so that its keys
/// are found in the L2 cache.
struct AttentionWalk {
  int64_t item = blockIdx.x;
  bool is_backward = false;
  TileFacts tile{};

  __device__ explicit AttentionWalk(const AttentionTiles& tiles) {
    tile.group = tiles.group;
    tile.reciprocal = tiles.reciprocal;
  }
  /// Finds the next tile that is there, from this one on.
  __device__ bool find(const PackedAttentionParams& p, const AttentionTiles& tiles) {
    for (; item < tiles.num_items; advance()) {
      tile.kv_head = static_cast<int>(item % tiles.num_kv_heads);
      const int64_t rest = item / tiles.num_kv_heads;
      const int64_t sequence = rest / tiles.most_tiles;
      const int number = static_cast<int>(rest % tiles.most_tiles);
      tile.first_query = p.query_first[sequence];
      const int num_queries = p.query_first[sequence + 1] - tile.first_query;
      tile.num_rows = num_queries * tile.group;
      tile.first_row = ((tile.num_rows + kTileRows - 1) / kTileRows - 1 - number) * kTileRows;
      if (tile.first_row < 0) continue;
      tile.first_key = p.key_first[sequence];
      tile.num_keys = p.key_first[sequence + 1] - tile.first_key;
      tile.lead = tile.num_keys - num_queries;
      return true;
    }
    return false;
  }
  __device__ void advance() {
    const int64_t place = is_backward ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
    const int64_t round = item / gridDim.x + 1;
    item = round * gridDim.x + place;
    is_backward = !is_backward;
  }
};

/// The steps of a block: those of a tile from its last keys to its first, tile after tile.
struct StepWalk {
  AttentionWalk walk;
  int step = 0;
  bool begins = false;  // a tile
  bool is_started = false;

  __device__ explicit StepWalk(const AttentionTiles& tiles) : walk(tiles) {}

  __device__ const TileFacts& tile() const { return walk.tile; }
  __device__ int first_key() const { return step * kStepKeys; }  // in the tile's sequence

  /// Calls on_unseeing(tile) for tiles whose rows see no key, which have no steps.
  template <typename OnUnseeing>
  __device__ bool next(const PackedAttentionParams& p, const AttentionTiles& tiles,
                       const OnUnseeing& on_unseeing) {
    begins = step == 0;
    if (--step >= 0) return true;
    while (true) {
      if (is_started) walk.advance();
      is_started = true;
      if (!walk.find(p, tiles)) return false;
      step = walk.tile.num_steps(p.is_causal) - 1;
      if (step >= 0) return true;
      on_unseeing(walk.tile);
    }
  }
};

/// Starts copying the box of `map` that begins `byte` into heads from `head` of rows from `row` on.
/// Outside are zeros.
__device__ inline void copy_heads(uint32_t to, const CUtensorMap& map, int byte, int head, int row,
                                  uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to),
      "l"(&map), "r"(byte), "r"(head), "r"(row), "r"(barrier)
      : "memory");
}

/// How the tensor cores find 16 rows of values to multiply as they stand: two halves of columns, in
/// each of which eight rows follow eight.
__device__ inline uint64_t values_descriptor(uint32_t address) {
  constexpr uint64_t kEightRows = 8 * kTileRowBytes / 16;
  constexpr uint64_t kOtherHalf = kHalfBytes / 16;
  constexpr uint64_t kSwizzle128 = 1;
  return (kSwizzle128 << 62) | (kEightRows << 32) | (kOtherHalf << 16) | (address / 16 & 0x3fffU);
}

/// Rows of values from `first_row` on are of another sequence or of none. Their weights are zero,
/// but zero times what is no number is none. By each group, before it multiplies them.
template <int kDim>
__device__ void clear_rows(uint32_t values, int first_row, int group) {
  const int first = first_row * kTileRowBytes + static_cast<int>(threadIdx.x) % kGroupThreads * 16;
#pragma unroll
  for (int half = 0; half < kDim / kHalfColumns; ++half) {
    for (int byte = first; byte < kHalfBytes; byte += kGroupThreads * 16) {
      asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(values + half * kHalfBytes +
                                                                    static_cast<uint32_t>(byte)),
                   "r"(0)
                   : "memory");
    }
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  asm volatile("bar.sync %0, %1;" ::"r"(3 + group), "n"(kGroupThreads) : "memory");
}

/// The part of a tile that a group holds. A lane has, of each warp's 16 rows, rows lane / 4 and
/// lane / 4 + 8.
template <int kDim>
struct GroupTile {
  float sum[kDim / 2];
  float score[kStepKeys / 2];
  uint32_t weight[kStepKeys / 16][4];  // the numerators of a step
  float best[2];                       // largest score so far, before the scale
  float total[2];                      // this lane's part of the sum of numerators
  float shrink[2];                     // what the sums are still to be multiplied with

  __device__ void clear() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      best[half] = -INFINITY;
      total[half] = 0;
    }
  }

  /// Starts score = queries times keys.
  __device__ void score_step(uint64_t queries, uint64_t keys) {
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      const int byte =
          step * kProductBytes / kTileRowBytes * kHalfBytes + step * kProductBytes % kTileRowBytes;
      Product<float, kStepKeys>::add(score, queries + descriptor_step(byte),
                                     keys + descriptor_step(byte), step > 0 ? 1 : 0);
    }
  }

  /// Starts sum = (adds ? sum : 0) + numerators times values.
  __device__ void add_values(uint32_t values, int adds) {
    const uint64_t first = values_descriptor(values);
#pragma unroll
    for (int step = 0; step < kStepKeys / 16; ++step) {
      ValueProduct<kDim>::add(sum, weight[step], first + descriptor_step(step * 16 * kTileRowBytes),
                              step > 0 ? 1 : adds);
    }
  }

  /// A half's row sees the keys below `seen` of the step, counted from the lane's first.
  __device__ void mask(int half, int seen) {
#pragma unroll
    for (int n = 0; n < kStepKeys / 8; ++n) {
      if (n * 8 >= seen) score[n * 4 + half * 2] = -INFINITY;
      if (n * 8 + 1 >= seen) score[n * 4 + half * 2 + 1] = -INFINITY;
    }
  }

  /// Turns the scores of a step into numerators.
  __device__ void weigh_step(float factor) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = best[half];
#pragma unroll
      for (int n = 0; n < kStepKeys / 8; ++n) {
        most = fmaxf(most, fmaxf(score[n * 4 + half * 2], score[n * 4 + half * 2 + 1]));
      }
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
      // A row may have seen no key yet: then every numerator is 2^-infinity.
      const float reference = most == -INFINITY ? 0.0F : most * factor;
      shrink[half] = exp2_fast(best[half] * factor - reference);
      best[half] = most;
      float added = 0;
#pragma unroll
      for (int n = 0; n < kStepKeys / 8; ++n) {
#pragma unroll
        for (int i = n * 4 + half * 2; i < n * 4 + half * 2 + 2; ++i) {
          score[i] = exp2_fast(score[i] * factor - reference);
          added += score[i];
        }
      }
      total[half] = total[half] * shrink[half] + added;
    }
  }

  /// Rounds them to bfloat16, once the values of the step before are multiplied.
  __device__ void narrow_step() {
#pragma unroll
    for (int step = 0; step < kStepKeys / 16; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        weight[step][i] = narrow_pair(score[step * 8 + i * 2], score[step * 8 + i * 2 + 1]);
      }
    }
  }

  __device__ void shrink_sums() {
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) sum[i] *= shrink[i / 2 % 2];
  }
};

}  // namespace msa::kernels
