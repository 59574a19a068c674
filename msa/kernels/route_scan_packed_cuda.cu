// The scan of packed keys. The queries of a pass stay in shared memory. Two groups of four warps
// take bands of keys as they come free, since not all multiprocessors are equally near to the
// memory; for each group a thread lets the copy engine fill a ring of segments. A warp unpacks what
// it reads from there into registers, as one side of the products.

#include <algorithm>

#include "msa/kernels/bulk_copy.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/pack_keys.h"
#include "msa/kernels/route_scan_tiles.cuh"
#include "msa/kernels/tile_map.cuh"
#include "msa/kernels/warpgroup_code.cuh"
#include "msa/kernels/warpgroup_products.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = (kGroups + 1) * kGroupThreads;  // the last group copies
constexpr int kMostStages = 12;                          // of a group's ring
constexpr int kLeastStages = 2;
constexpr int kStageBytes = kBandChunks * kSegmentBytes;
static_assert(kBandChunks == kGroupChunks && kSegmentValues == kTileRowBytes);

struct PackedScan {
  ScanFacts facts;
  const std::byte* packed;
  uint32_t* num_taken;  // bands, but for the first of each group
  int64_t num_bands;
  int num_segments;
  int num_stages;
  int first_block;  // of the pass's tokens
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/// The ring of one group. `full` ends a phase when a segment has come, `empty` when all of the
/// group's threads have read it.
struct SegmentRing {
  uint32_t memory;
  uint32_t full;
  uint32_t empty;
  volatile int32_t* band;  // of the segment in each stage, where it is the first of its band
  int num_stages;
  int stage = 0;
  uint32_t parity = 0;

  __device__ uint32_t segment() const {
    return memory + static_cast<uint32_t>(stage * kStageBytes);
  }
  __device__ uint32_t full_barrier() const { return full + static_cast<uint32_t>(stage) * 8; }
  __device__ uint32_t empty_barrier() const { return empty + static_cast<uint32_t>(stage) * 8; }
  __device__ void advance() {
    if (++stage == num_stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

constexpr int32_t kNoBand = -1;

/// The first band is the group's own; the next is the first that nobody has taken.
__device__ int64_t first_band(int group) {
  return static_cast<int64_t>(blockIdx.x) * kGroups + group;
}
__device__ int64_t take_band(const PackedScan& p) {
  return static_cast<int64_t>(gridDim.x) * kGroups + atomicAdd(p.num_taken, 1U);
}

/// By one thread: copies all segments of all bands of a group. Keys of the first may come before
/// the queries are there.
__device__ void fill_ring(const PackedScan& p, SegmentRing ring, int group) {
  const uint64_t policy = read_once_policy();
  const auto copy_band = [&](int64_t band) {
    const std::byte* from = p.packed + band * p.num_segments * kStageBytes;
    for (int segment = 0; segment < p.num_segments; ++segment) {
      await_phase(ring.empty_barrier(), ring.parity ^ 1);
      if (segment == 0) ring.band[ring.stage] = static_cast<int32_t>(band);
      expect_bytes(ring.full_barrier(), kStageBytes);
      copy_bulk(ring.segment(), from + static_cast<int64_t>(segment) * kStageBytes, kStageBytes,
                ring.full_barrier(), policy);
      ring.advance();
    }
  };
  int64_t band = first_band(group);
  if (band < p.num_bands) copy_band(band);
  await_launched_before();
  for (band = take_band(p); band < p.num_bands;) {
    const int64_t next = take_band(p);  // not looked at before this band is on its way
    copy_band(band);
    band = next;
  }
  await_phase(ring.empty_barrier(), ring.parity ^ 1);
  ring.band[ring.stage] = kNoBand;
  arrive(ring.full_barrier());
}

__device__ uint4 load_shared(uint32_t address) {
  uint4 out;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w)
               : "r"(address)
               : "memory");
  return out;
}

constexpr int kSteps = kSegmentValues / kProductBytes;  // products of a segment

/// A lane's values of a segment as bytes of 16 times their size, by part of the rows and product.
using Operands = uint32_t[kParts][kSteps][4];

/// Around products: operands are in their registers before, and stay there until they are done.
__device__ void hold_operands(Operands& operands) {
#pragma unroll
  for (int i = 0; i < kParts * kSteps * 4; ++i) {
    asm volatile("" : "+r"(operands[i / (kSteps * 4)][i / 4 % kSteps][i % 4])::"memory");
  }
}

__device__ void unpack(const uint4 (&packed)[kParts][2], Operands& operands) {
  constexpr uint32_t kUpper = 0xf0f0f0f0U;
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4& words = packed[part][half];
      const uint32_t word[kSteps] = {words.x, words.y, words.z, words.w};
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        operands[part][step][half] = word[step] << 4 & kUpper;
        operands[part][step][2 + half] = word[step] & kUpper;
      }
    }
  }
}

/// By each group of warps that multiplies: all its bands.
template <int kTokens>
__device__ void multiply_bands(const PackedScan& p, SegmentRing ring, uint32_t queries, int group) {
  constexpr int kBlocks = kTokens / static_cast<int>(kTokenStep);
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) % kGroupThreads / kWarpThreads;
  const auto lane_bytes = static_cast<uint32_t>(warp * 16 * kSegmentBytes + lane * 16);
  const BlockOwners owners(p.facts, p.first_block, kBlocks, lane);
  int32_t sum[kParts][kTokens / 2];
  Operands operands;
  while (true) {
    await_phase(ring.full_barrier(), ring.parity);
    const int64_t band = ring.band[ring.stage];
    if (band == kNoBand) break;
    // What the maxima need is loaded now, and not looked at before the products are done.
    LaneChunk chunk;
    chunk.load<true>(p.facts, band * kBandChunks + warp * 16, lane);
    for (int segment = 0; segment < p.num_segments; ++segment) {
      await_phase(ring.full_barrier(), ring.parity);
      uint4 packed[kParts][2];
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          packed[part][half] = load_shared(
              ring.segment() + lane_bytes +
              static_cast<uint32_t>((part * kInstructionChunks + half * 8) * kSegmentBytes));
        }
      }
      arrive(ring.empty_barrier());
      ring.advance();
      // The products of the segment before this one read the operands until now.
      await_products<0>();
      hold_operands(operands);
      unpack(packed, operands);
      hold_operands(operands);
#pragma unroll
      for (int part = 0; part < kParts; ++part) hold(sum[part]);
      begin_products();
      const uint64_t tile =
          tile_descriptor(queries + static_cast<uint32_t>(segment * kTokens * kTileRowBytes));
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          RowProduct<kTokens>::add(sum[part], operands[part][step],
                                   tile + descriptor_step(step * kProductBytes),
                                   segment > 0 || step > 0 ? 1 : 0);
        }
      }
      commit_products();
    }
    await_products<0>();
#pragma unroll
    for (int part = 0; part < kParts; ++part) hold(sum[part]);
    hold_operands(operands);
    keep_scores<int32_t, kTokens>(
        p.facts, chunk, sum, p.first_block, owners.owner, lane, [&](int question, float score) {
          if (chunk.place >= p.facts.num_chunks) return;
          uint32_t* kept = p.facts.chunk_score + question * p.facts.num_chunks + chunk.place;
          // A question that began in the pass before.
          const bool is_raised = question == owners.before;
          *kept = is_raised ? max(__ldcg(kept), kept_score(score)) : kept_score(score);
        });
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

/// Built for another GPU it does nothing and has no shared memory, by which the host can tell.
template <int kTokens>
__global__ void __launch_bounds__(kThreads, 1)
    packed_kernel(const __grid_constant__ CUtensorMap queries,
                  const __grid_constant__ PackedScan p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(kTileAlignment) uint8_t memory[];
  __shared__ __align__(8) uint64_t barriers[1 + 2 * kGroups * kMostStages];
  __shared__ int32_t bands[kGroups][kMostStages];
  const uint32_t queries_came = shared_address(barriers);
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  const uint32_t tiles = shared_address(memory);
  const auto query_bytes = static_cast<uint32_t>(p.num_segments * kTokens * kTileRowBytes);
  const auto ring_of = [&](int g) {
    const uint32_t first = queries_came + 8 + static_cast<uint32_t>(2 * g * kMostStages * 8);
    return SegmentRing{tiles + query_bytes + static_cast<uint32_t>(g * p.num_stages * kStageBytes),
                       first, first + kMostStages * 8, bands[g], p.num_stages};
  };
  if (threadIdx.x == 0) {
    init_barrier(queries_came, 1);
    for (int g = 0; g < kGroups; ++g) {
      SegmentRing ring = ring_of(g);
      for (; ring.stage < p.num_stages; ++ring.stage) {
        init_barrier(ring.full_barrier(), 1);
        init_barrier(ring.empty_barrier(), kGroupThreads);
      }
    }
    publish_barriers();
  }
  __syncthreads();
  release_launched_after();
  if (group == kGroups) {
    leave_registers<40>();
    const int filled = static_cast<int>(threadIdx.x) % kGroupThreads / kWarpThreads;
    if (threadIdx.x % kWarpThreads != 0 || filled > kGroups) return;
    if (filled == kGroups) {
      // Keys may come before the queries are there.
      await_launched_before();
      expect_bytes(queries_came, query_bytes);
      for (int segment = 0; segment < p.num_segments; ++segment) {
        copy_tile(tiles + static_cast<uint32_t>(segment * kTokens * kTileRowBytes), queries,
                  segment * kTileRowBytes, 0, queries_came);
      }
    } else {
      fill_ring(p, ring_of(filled), filled);
    }
  } else {
    take_registers<232>();
    await_launched_before();
    await_phase(queries_came, 0);
    multiply_bands<kTokens>(p, ring_of(group), tiles, group);
  }
#endif
}

using PackedKernel = void (*)(CUtensorMap, PackedScan);

struct Choice {
  int num_tokens;
  PackedKernel kernel;
};

constexpr Choice kChoices[] = {{48, packed_kernel<48>},
                               {64, packed_kernel<64>},
                               {96, packed_kernel<96>},
                               {128, packed_kernel<128>}};

/// The smallest kernel for `num_tokens`, or the largest whose queries leave room for the rings.
const Choice& choose(int64_t num_tokens, int64_t query_row_bytes, int64_t most_bytes) {
  const Choice* best = nullptr;
  for (const Choice& choice : kChoices) {
    const int64_t ring_bytes = most_bytes - choice.num_tokens * query_row_bytes;
    if (ring_bytes < kGroups * kLeastStages * kStageBytes) break;
    best = &choice;
    if (choice.num_tokens >= num_tokens) break;
  }
  MSA_CHECK(best != nullptr, "route_batch: ", kChoices[0].num_tokens, " queries of ",
            query_row_bytes, " bytes do not fit this GPU's shared memory");
  return *best;
}

bool can_scan_packed_keys() {
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) != 9) return false;
  cudaFuncAttributes attributes{};
  expect_success(cudaFuncGetAttributes(&attributes, kChoices[0].kernel), "scan_packed_keys");
  return attributes.sharedSizeBytes > 0;
}

}  // namespace

void scan_packed_keys(const RouteBatchParams& params, const RouteBatchSpace& space,
                      CudaStream stream) {
  if (!can_scan_packed_keys()) {
    throw Error(ErrorCode::kDevice,
                "routing over int4 keys needs a GPU of compute capability 9.0 (Hopper)");
  }
  // The barriers fill less than kTileAlignment; queries and rings begin behind.
  const int most_bytes = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) - kTileAlignment;
  const int64_t blocks = device_attribute(cudaDevAttrMultiProcessorCount);
  const int64_t num_bands = (params.num_chunks + kBandChunks - 1) / kBandChunks;
  for (int64_t token = 0; token < space.num_tokens;) {
    const int64_t left = space.num_tokens - token;
    const Choice& choice = choose(left, space.query_row_bytes, most_bytes);
    const int64_t count = std::min<int64_t>(left, choice.num_tokens);
    PackedScan scan{};
    scan.facts = {params.packed.scale, space.token_scale,
                  space.block_owner,   space.chunk_score,
                  params.num_chunks,   static_cast<int>(space.num_tokens / kTokenStep)};
    scan.first_block = static_cast<int>(token / kTokenStep);
    scan.packed = params.packed.value;
    scan.num_taken = space.num_taken + token / kTokenStep;
    scan.num_bands = num_bands;
    scan.num_segments = static_cast<int>(space.query_row_bytes / kSegmentValues);
    const auto query_bytes = static_cast<int>(choice.num_tokens * space.query_row_bytes);
    scan.num_stages = std::min((most_bytes - query_bytes) / (kGroups * kStageBytes), kMostStages);
    const int shared_bytes = query_bytes + kGroups * scan.num_stages * kStageBytes;
    const CUtensorMap queries = tile_map(space.query + token * space.query_row_bytes, count,
                                         space.query_row_bytes, choice.num_tokens);
    // The same at every call: it belongs to the kernel, whoever else launches it now.
    expect_success(cudaFuncSetAttribute(choice.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        most_bytes),
                   "scan_packed_keys");
    const int64_t grid = std::min(blocks, (num_bands + kGroups - 1) / kGroups);
    launch_dependent(choice.kernel, static_cast<unsigned>(grid), kThreads,
                     static_cast<size_t>(shared_bytes), static_cast<cudaStream_t>(stream), queries,
                     scan);
    token += count;
  }
}

}  // namespace msa::kernels
