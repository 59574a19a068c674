// Tiles of keys times tiles of queries. One thread lets the copy engine fill a ring of slices in
// shared memory; two groups of four warps multiply them, each for half of the keys, and keep all
// sums of a tile in registers until the maxima over each question's tokens are taken. Two blocks
// form a cluster: of what they have in common, keys or queries, each copies half to both. Items
// with the same keys are multiplied at about the same time, so that all but the first find them in
// the L2 cache.

#include <algorithm>

#include "msa/kernels/bulk_copy.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/route_scan_tiles.cuh"
#include "msa/kernels/tile_map.cuh"
#include "msa/kernels/warpgroup_code.cuh"
#include "msa/kernels/warpgroup_products.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = (kGroups + 1) * kGroupThreads;  // the last group copies
constexpr int kMostTokens = 192;                         // of a tile
constexpr int kMostStages = 8;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/// Where a block stands among the slices, stage after stage.
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void advance(int num_stages) {
    if (++stage == num_stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

/// Each stage holds a slice of the keys, then one of the queries. `full` ends a phase when a slice
/// has come, `empty` when all warps of the cluster that multiply have done so.
template <int kTokens>
struct Ring {
  static constexpr int kKeyBytes = kTileChunks * kTileRowBytes;
  static constexpr int kStageBytes = kKeyBytes + kTokens * kTileRowBytes;

  uint32_t memory;
  uint32_t full;
  uint32_t empty;

  __device__ uint32_t keys(int stage) const {
    return memory + static_cast<uint32_t>(stage * kStageBytes);
  }
  __device__ uint32_t queries(int stage) const { return keys(stage) + kKeyBytes; }
  __device__ static uint32_t barrier(uint32_t first, int stage) {
    return first + static_cast<uint32_t>(stage) * 8;
  }
};

/// By one thread: copies all slices of all tiles of this block.
template <int kTokens>
__device__ void fill_ring(const CUtensorMap& keys, const CUtensorMap& queries, const TileScan& p,
                          const Ring<kTokens>& ring) {
  TileWalk walk(p);
  const uint64_t policy = read_once_policy();
  // Of the tile in common a block copies its part, to all; of the other all, to itself.
  constexpr uint16_t kAllBlocks = (1 << kCluster) - 1;
  const auto own = static_cast<uint16_t>(1 << walk.rank);
  const uint16_t key_blocks = p.shares_keys ? kAllBlocks : own;
  const uint16_t query_blocks = p.shares_keys ? own : kAllBlocks;
  const int key_part = p.shares_keys ? walk.rank * (kTileChunks / kCluster) : 0;
  const int query_part = p.shares_keys ? 0 : walk.rank * (kTokens / kCluster);
  const auto copy_keys = [&](int stage, int slice) {
    const uint32_t full = ring.barrier(ring.full, stage);
    expect_bytes(full, Ring<kTokens>::kStageBytes);
    const uint32_t to = ring.keys(stage) + static_cast<uint32_t>(key_part * kTileRowBytes);
    const int byte = slice * kTileRowBytes;
    const auto row = static_cast<int>(walk.key_tile(p) * kTileChunks + key_part);
    if (p.token_groups == 1) {
      copy_tile(to, keys, byte, row, full, key_blocks, policy);
    } else {
      copy_tile(to, keys, byte, row, full, key_blocks);
    }
  };
  const auto copy_queries = [&](int stage, int slice) {
    copy_tile(ring.queries(stage) + static_cast<uint32_t>(query_part * kTileRowBytes), queries,
              slice * kTileRowBytes, walk.token_tile(p) * kTokens + query_part,
              ring.barrier(ring.full, stage), query_blocks);
  };
  // The first keys come before the queries are there.
  int slice = 0;
  RingPlace place;
  const int early = walk.item < p.num_items ? min(p.num_stages, p.num_slices) : 0;
  for (int i = 0; i < early; ++i) copy_keys(i, i);
  await_launched_before();
  for (; slice < early; ++slice) {
    copy_queries(slice, slice);
    place.advance(p.num_stages);
  }
  for (; walk.item < p.num_items; walk.advance(p)) {
    for (; slice < p.num_slices; ++slice) {
      await_phase(ring.barrier(ring.empty, place.stage), place.parity ^ 1);
      copy_keys(place.stage, slice);
      copy_queries(place.stage, slice);
      place.advance(p.num_stages);
    }
    slice = 0;
  }
}

/// By each group of warps that multiplies: all tiles of this block.
template <typename Sum, int kTokens>
__device__ void multiply_tiles(const TileScan& p, const Ring<kTokens>& ring, int group) {
  constexpr int kBlocks = kTokens / static_cast<int>(kTokenStep);
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) % kGroupThreads / kWarpThreads;
  // The first lanes tell one block of the cluster each, since any may copy to this one.
  const uint32_t empty = lane < kCluster ? address_in_block(ring.empty, lane) : 0;
  const auto release = [&](int stage) {
    if (lane < kCluster) arrive_in_cluster(ring.barrier(empty, stage));
  };
  const auto group_keys = static_cast<uint32_t>(group * kGroupChunks * kTileRowBytes);
  Sum sum[kParts][kTokens / 2];
  RingPlace place;
  for (TileWalk walk(p); walk.item < p.num_items; walk.advance(p)) {
    // What the maxima need is loaded now, and not looked at before the products are done.
    LaneChunk chunk;
    chunk.load<kIsInt8<Sum>>(
        p.facts, walk.key_tile(p) * kTileChunks + group * kGroupChunks + warp * 16, lane);
    const int first_block = walk.token_tile(p) * kBlocks;
    const BlockOwners owners(p.facts, first_block, kBlocks, lane);
    int last_stage = 0;
    for (int slice = 0; slice < p.num_slices; ++slice) {
      await_phase(ring.barrier(ring.full, place.stage), place.parity);
      const uint64_t keys = tile_descriptor(ring.keys(place.stage) + group_keys);
      const uint64_t queries = tile_descriptor(ring.queries(place.stage));
#pragma unroll
      for (int part = 0; part < kParts; ++part) hold(sum[part]);
      begin_products();
#pragma unroll
      for (int step = 0; step < kTileRowBytes / kProductBytes; ++step) {
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          const int key_byte = part * kInstructionChunks * kTileRowBytes + step * kProductBytes;
          Product<Sum, kTokens>::add(sum[part], keys + descriptor_step(key_byte),
                                     queries + descriptor_step(step * kProductBytes),
                                     slice > 0 || step > 0 ? 1 : 0);
        }
      }
      commit_products();
      // The slice before this one has been multiplied; its stage may be filled again.
      await_products<1>();
      if (slice > 0) release(last_stage);
      last_stage = place.stage;
      place.advance(p.num_stages);
    }
    await_products<0>();
#pragma unroll
    for (int part = 0; part < kParts; ++part) hold(sum[part]);
    release(last_stage);
    keep_scores<Sum, kTokens>(
        p.facts, chunk, sum, first_block, owners.owner, lane, [&](int question, float score) {
          if (chunk.place >= p.facts.num_chunks) return;
          uint32_t* kept = p.facts.chunk_score + question * p.facts.num_chunks + chunk.place;
          if (question == owners.before || question == owners.behind) {
            atomicMax(kept, kept_score(score));
          } else {
            *kept = kept_score(score);
          }
        });
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

/// Built for another GPU it does nothing and has no shared memory, by which the host can tell.
template <typename Sum, int kTokens>
__global__ void __launch_bounds__(kThreads, 1)
    tile_kernel(const __grid_constant__ CUtensorMap keys,
                const __grid_constant__ CUtensorMap queries, const __grid_constant__ TileScan p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(kTileAlignment) uint8_t memory[];
  __shared__ __align__(8) uint64_t barriers[2 * kMostStages];
  const uint32_t first = shared_address(barriers);
  const Ring<kTokens> ring{shared_address(memory), first, first + kMostStages * 8};
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < p.num_stages; ++stage) {
      init_barrier(ring.barrier(ring.full, stage), 1);
      init_barrier(ring.barrier(ring.empty, stage),
                   kCluster * kGroups * kGroupThreads / kWarpThreads);
    }
    publish_barriers();
  }
  __syncthreads();
  meet_in_cluster();
  release_launched_after();
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  if (group == kGroups) {
    leave_registers<40>();
    if (threadIdx.x % kGroupThreads == 0) fill_ring(keys, queries, p, ring);
  } else {
    take_registers<232>();
    await_launched_before();
    multiply_tiles<Sum, kTokens>(p, ring, group);
  }
  // Until here the other block may write to this one's memory.
  leave_cluster();
#endif
}

using TileKernel = void (*)(CUtensorMap, CUtensorMap, TileScan);

struct Choice {
  int num_tokens;
  TileKernel kernel;
};

template <typename Sum>
constexpr Choice kChoices[] = {
    {48, tile_kernel<Sum, 48>},   {64, tile_kernel<Sum, 64>},   {96, tile_kernel<Sum, 96>},
    {112, tile_kernel<Sum, 112>}, {128, tile_kernel<Sum, 128>}, {144, tile_kernel<Sum, 144>},
    {160, tile_kernel<Sum, 160>}, {176, tile_kernel<Sum, 176>}, {192, tile_kernel<Sum, 192>}};

int64_t parts_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

template <typename Sum>
const Choice& choice_for(int64_t num_tokens) {
  const int64_t tokens = parts_of(num_tokens, parts_of(num_tokens, kMostTokens));
  const Choice* choice = kChoices<Sum>;
  while (choice->num_tokens < tokens) ++choice;
  return *choice;
}

template <typename Sum>
void scan(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream) {
  const int64_t token_tiles = parts_of(space.num_tokens, kMostTokens);
  const Choice& choice = choice_for<Sum>(space.num_tokens);

  TileScan scan{};
  scan.facts = {params.key_scale,  space.token_scale,
                space.block_owner, space.chunk_score,
                params.num_chunks, static_cast<int>(space.num_tokens / kTokenStep)};
  scan.shares_keys = token_tiles % kCluster == 0;
  const int item_tokens = scan.shares_keys ? kCluster : 1;
  const int item_keys = scan.shares_keys ? 1 : kCluster;
  scan.token_groups = static_cast<int>(token_tiles / item_tokens);
  scan.num_items = parts_of(params.num_chunks, item_keys * kTileChunks) * scan.token_groups;
  scan.num_slices = static_cast<int>(space.query_row_bytes / kTileRowBytes);
  const int stage_bytes = (kTileChunks + choice.num_tokens) * kTileRowBytes;
  // The barriers fill less than kTileAlignment; the ring begins behind.
  const int most_bytes = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  scan.num_stages = std::min((most_bytes - kTileAlignment) / stage_bytes, kMostStages);
  const int shared_bytes = scan.num_stages * stage_bytes;

  const int64_t row_bytes = params.key_dim * bytes_of(params.key_type);
  const CUtensorMap keys =
      tile_map(params.key, params.num_chunks, row_bytes, kTileChunks / item_tokens);
  const CUtensorMap queries =
      tile_map(space.query, space.num_tokens, space.query_row_bytes, choice.num_tokens / item_keys);
  const int64_t most_clusters = device_attribute(cudaDevAttrMultiProcessorCount) / kCluster;
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {kCluster, 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(std::min(most_clusters, scan.num_items)) * kCluster;
  config.blockDim = kThreads;
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = attributes;
  config.numAttrs = 2;
  if (cudaFuncSetAttribute(choice.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           shared_bytes) == cudaSuccess) {
    cudaLaunchKernelEx(&config, choice.kernel, keys, queries, scan);
  }
  expect_launched("scan_keys_in_tiles");
}

}  // namespace

bool can_scan_keys_in_tiles() {
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) != 9) return false;
  cudaFuncAttributes attributes{};
  if (cudaFuncGetAttributes(&attributes, tile_kernel<float, kMostTokens>) != cudaSuccess) {
    expect_launched("scan_keys_in_tiles");
  }
  return attributes.sharedSizeBytes > 0;
}

int64_t tile_tokens(int64_t num_tokens) { return choice_for<int32_t>(num_tokens).num_tokens; }

void scan_keys_in_tiles(const RouteBatchParams& params, const RouteBatchSpace& space,
                        CudaStream stream) {
  if (params.key_type == NumberType::kInt8) {
    scan<int32_t>(params, space, stream);
  } else {
    scan<float>(params, space, stream);
  }
}

}  // namespace msa::kernels
