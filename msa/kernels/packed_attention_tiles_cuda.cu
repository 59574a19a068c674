// Blocks that stay, each with one tile of 128 query rows after another. A thread lets the copy
// engine fetch queries, keys and values; two groups of four warps multiply half of the rows each.
// While the scores of one step are multiplied, so are the values of the step before, be it of
// another tile, and the groups take turns: one multiplies while the other finds its softmax
// (FlashAttention-3). The query heads that share a kv head are rows of one tile.

#include <algorithm>

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/packed_attention_tiles.cuh"
#include "msa/kernels/packed_attention_tiles.h"
#include "msa/kernels/quad_parts.cuh"
#include "msa/kernels/tile_map.cuh"
#include "msa/kernels/tile_ring.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = (kGroups + 1) * kGroupThreads;  // the last group copies

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr float kLog2E = 1.44269504F;

template <int kDim>
struct Rings {
  TileRing<kStages, kDim * kTileRows * 2> query;
  TileRing<kStages, kDim * kTileRows * 2> key;
  TileRing<kStages, kDim * kTileRows * 2> value;
};

/// By one thread: starts copying a tile of rows from `row` on of heads from `head` on.
template <int kDim, typename Ring>
__device__ void fill(Ring& ring, const CUtensorMap& map, int head, int row) {
  ring.await_empty();
  expect_bytes(ring.full(), Ring::kStageBytes);
#pragma unroll
  for (int half = 0; half < kDim / kHalfColumns; ++half) {
    copy_heads(ring.place() + half * kHalfBytes, map, half * kTileRowBytes, head, row, ring.full());
  }
  ring.advance();
}

/// By one thread: copies all that this block multiplies, in the order in which it does.
template <int kDim>
__device__ void fill_rings(const AttentionMaps& maps, const PackedAttentionParams& p,
                           const AttentionTiles& tiles, Rings<kDim> rings) {
  int value_head = -1;
  int value_row = 0;
  StepWalk walk(tiles);
  while (walk.next(p, tiles, [](const TileFacts&) {})) {
    const TileFacts& tile = walk.tile();
    if (walk.begins) {
      fill<kDim>(rings.query, maps.query, tile.kv_head * tiles.group,
                 tile.first_query + tile.first_row / tiles.group);
    }
    fill<kDim>(rings.key, maps.key, tile.kv_head, tile.first_key + walk.first_key());
    if (value_head >= 0) fill<kDim>(rings.value, maps.value, value_head, value_row);
    value_head = tile.kv_head;
    value_row = tile.first_key + walk.first_key();
  }
  if (value_head >= 0) fill<kDim>(rings.value, maps.value, value_head, value_row);
}

/// The place of a row of a tile in [T, H, D].
template <int kDim>
__device__ BFloat16* row_of(const PackedAttentionParams& p, const TileFacts& tile, int row) {
  const int query = tile.query_of(row);
  const int64_t head = tile.kv_head * tile.group + (row - query * tile.group);
  return p.out + ((int64_t{tile.first_query} + query) * p.num_heads + head) * kDim;
}

/// Writes a group's rows of the result. `first_row` is the lane's first, `total` its part of the
/// sums of numerators.
template <int kDim>
__device__ void write_rows(const PackedAttentionParams& p, const TileFacts& tile,
                           const float (&sum)[kDim / 2], const float (&total)[2], int first_row,
                           int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float whole = total[half] + __shfl_xor_sync(kAllLanes, total[half], 1);
    whole += __shfl_xor_sync(kAllLanes, whole, 2);
    const float factor = whole > 0 ? 1.0F / whole : 0.0F;
    const int row = first_row + half * 8;
    BFloat16* out = row_of<kDim>(p, tile, row);
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 4) {
      uint32_t pair[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = (n + i) * 4 + half * 2;
        pair[i] = narrow_pair(sum[at] * factor, sum[at + 1] * factor);
      }
      turn_quad(pair, lane);
      if (row < tile.num_rows) {
        *reinterpret_cast<uint4*>(out + (n + lane % 4) * 8) = {pair[0], pair[1], pair[2], pair[3]};
      }
    }
  }
}

template <int kDim>
__device__ void write_zeros(const PackedAttentionParams& p, const TileFacts& tile, int first_row,
                            int lane) {
  for (int row = first_row; row < min(first_row + 16, tile.num_rows); row += 8) {
    auto* out = reinterpret_cast<uint4*>(row_of<kDim>(p, tile, row));
    for (int part = lane % 4; part < kDim / 8; part += 4) out[part] = {};
  }
}

/// By each group that multiplies: its rows of all tiles of this block.
template <int kDim>
__device__ void attend_tiles(const PackedAttentionParams& p, const AttentionTiles& tiles,
                             Rings<kDim> rings, int group) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) % kGroupThreads / kWarpThreads;
  const int lane_row = group * kGroupRows + warp * 16 + lane / 4;  // of a tile
  const float factor = p.scale * kLog2E;
  const auto release = [&](auto& ring) {
    if (lane == 0) arrive(ring.empty());
    ring.advance();
  };
  GroupTile<kDim> mine;
  StepWalk walk(tiles);
  const auto next = [&] {
    return walk.next(p, tiles, [&](const TileFacts& tile) {
      write_zeros<kDim>(p, tile, tile.first_row + lane_row, lane);
    });
  };
  const auto mask = [&] {
    const TileFacts& tile = walk.tile();
    const int first_key = walk.first_key();
    if (first_key + kStepKeys <= tile.seen_by(tile.first_row, p.is_causal)) return;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int seen = tile.seen_by(tile.first_row + lane_row + half * 8, p.is_causal);
      mine.mask(half, seen - first_key - lane % 4 * 2);
    }
  };
  if (!next()) return;
  if (group == 1) pass_turn(group);
  rings.query.await_full();
  uint64_t queries = tile_descriptor(rings.query.place() + group * kGroupRows * kTileRowBytes);
  rings.key.await_full();
  begin_products();
  mine.score_step(queries, tile_descriptor(rings.key.place()));
  commit_products();
  await_products<0>();
  hold(mine.score);
  release(rings.key);
  mine.clear();
  mask();
  mine.weigh_step(factor);
  mine.narrow_step();
  // The step whose values are multiplied while the scores of the next are.
  TileFacts tile = walk.tile();
  int num_values = tile.num_keys - walk.first_key();
  int adds = 0;
  while (next()) {
    if (walk.begins) {
      release(rings.query);
      rings.query.await_full();
      queries = tile_descriptor(rings.query.place() + group * kGroupRows * kTileRowBytes);
    }
    rings.key.await_full();
    await_turn(group);
    hold(mine.score);
    hold(mine.sum);
    begin_products();
    mine.score_step(queries, tile_descriptor(rings.key.place()));
    commit_products();
    rings.value.await_full();
    if (num_values < kStepKeys) clear_rows<kDim>(rings.value.place(), num_values, group);
    begin_products();
    mine.add_values(rings.value.place(), adds);
    commit_products();
    pass_turn(group);
    await_products<1>();
    hold(mine.score);
    release(rings.key);
    const float total[] = {mine.total[0], mine.total[1]};
    if (walk.begins) mine.clear();
    mask();
    mine.weigh_step(factor);
    await_products<0>();
    hold(mine.sum);
    release(rings.value);
    if (walk.begins) {
      write_rows<kDim>(p, tile, mine.sum, total, tile.first_row + lane_row, lane);
    } else {
      mine.shrink_sums();
    }
    mine.narrow_step();
    tile = walk.tile();
    num_values = tile.num_keys - walk.first_key();
    adds = walk.begins ? 0 : 1;
  }
  release(rings.query);
  rings.value.await_full();
  if (num_values < kStepKeys) clear_rows<kDim>(rings.value.place(), num_values, group);
  hold(mine.sum);
  begin_products();
  mine.add_values(rings.value.place(), adds);
  commit_products();
  await_products<0>();
  hold(mine.sum);
  release(rings.value);
  write_rows<kDim>(p, tile, mine.sum, mine.total, tile.first_row + lane_row, lane);
  if (group == 0) await_turn(group);  // that no barrier is left with one arrival
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

/// Built for another GPU it does nothing and has no shared memory, by which the host can tell.
template <int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    attend_tiles_kernel(const __grid_constant__ AttentionMaps maps,
                        const __grid_constant__ PackedAttentionParams p,
                        const __grid_constant__ AttentionTiles tiles) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(kTileAlignment) uint8_t memory[];
  using R = Rings<kDim>;
  constexpr int kBarriers = 2 * kStages;
  __shared__ __align__(8) uint64_t barriers[3 * kBarriers];
  const uint32_t first = shared_address(memory);
  const uint32_t barrier = shared_address(barriers);
  constexpr uint32_t kRingBytes = decltype(R::query)::kRingBytes;
  const R rings{{first, barrier},
                {first + kRingBytes, barrier + kBarriers * 8},
                {first + 2 * kRingBytes, barrier + 2 * kBarriers * 8}};
  if (threadIdx.x == 0) {
    constexpr uint32_t kWarps = kGroups * kGroupThreads / kWarpThreads;
    rings.query.init(kWarps);
    rings.key.init(kWarps);
    rings.value.init(kWarps);
    publish_barriers();
  }
  __syncthreads();
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  if (group == kGroups) {
    leave_registers<24>();
    if (threadIdx.x % kGroupThreads == 0) fill_rings<kDim>(maps, p, tiles, rings);
  } else {
    take_registers<240>();
    attend_tiles<kDim>(p, tiles, rings, group);
  }
#endif
}

template <int kDim>
void attend(const PackedAttentionParams& params, CudaStream stream) {
  const auto kernel = attend_tiles_kernel<kDim>;
  constexpr int kBytes = 3 * kStages * kTileRows * kDim * 2;
  AttentionTiles tiles{};
  tiles.group = static_cast<int>(params.num_heads / params.num_kv_heads);
  tiles.reciprocal = 0xffffffffU / static_cast<uint32_t>(tiles.group) + 1;
  tiles.num_kv_heads = static_cast<int>(params.num_kv_heads);
  tiles.most_tiles =
      static_cast<int>((params.most_queries * tiles.group + kTileRows - 1) / kTileRows);
  tiles.num_items = params.num_sequences * tiles.most_tiles * params.num_kv_heads;
  const AttentionMaps maps{
      heads_map(params.query, params.num_queries, params.num_heads, kDim * 2, tiles.group,
                kTileRows / tiles.group),
      heads_map(params.key, params.num_keys, params.num_kv_heads, kDim * 2, 1, kStepKeys),
      heads_map(params.value, params.num_keys, params.num_kv_heads, kDim * 2, 1, kStepKeys)};
  expect_success(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
                 "packed_attention");
  const int64_t processors = device_attribute(cudaDevAttrMultiProcessorCount);
  const auto blocks = static_cast<unsigned>(std::min(processors, tiles.num_items));
  kernel<<<blocks, kThreads, kBytes, static_cast<cudaStream_t>(stream)>>>(maps, params, tiles);
  expect_launched("packed_attention");
}

}  // namespace

bool can_attend_in_tiles(const PackedAttentionParams& params) {
  const int64_t group = params.num_heads / params.num_kv_heads;
  if ((params.head_dim != 64 && params.head_dim != 128) || kTileRows % group != 0) return false;
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) != 9) return false;
  const int64_t processors = device_attribute(cudaDevAttrMultiProcessorCount);
  const int64_t tiles = (params.most_queries * group + kTileRows - 1) / kTileRows;
  if (params.num_keys == 0 || tiles * params.num_kv_heads * params.num_sequences < 2 * processors) {
    return false;
  }
  cudaFuncAttributes attributes{};
  expect_success(cudaFuncGetAttributes(&attributes, attend_tiles_kernel<128>), "packed_attention");
  return attributes.sharedSizeBytes > 0;
}

void attend_in_tiles(const PackedAttentionParams& params, CudaStream stream) {
  if (params.head_dim == 64) {
    attend<64>(params, stream);
  } else {
    attend<128>(params, stream);
  }
}

}  // namespace msa::kernels
