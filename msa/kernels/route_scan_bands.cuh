#pragma once
// A scan in bands of keys (sm_90a). The queries of a pass stay in shared memory. Two groups of four
// warps take bands as they come free, since not all multiprocessors are equally near to the memory;
// for each group a thread lets the copy engine fill a ring of segments.

#include <algorithm>

#include "msa/kernels/bulk_copy.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/route_scan_tiles.cuh"
#include "msa/kernels/tile_map.cuh"
#include "msa/kernels/warpgroup_code.cuh"
#include "msa/kernels/warpgroup_products.cuh"

namespace msa::kernels {

constexpr int kBandThreads = (kGroups + 1) * kGroupThreads;  // the last group copies
constexpr int kMostBandStages = 12;                          // of a group's ring
constexpr int kEarlyBytes = 32 << 10;  // of keys, read before queries are there:
                                       // more would keep those waiting

/// A band is kGroupChunks keys, a segment of it what meets kTileRowBytes of the queries' rows.
struct BandScan {
  ScanFacts facts;
  uint32_t* num_taken;  // bands, but for the first of each group
  int64_t num_bands;
  int num_segments;
  int num_stages;
  int first_block;  // of the pass's tokens
};

/// The ring of one group. `full` ends a phase when a segment has come, `empty` when all of the
/// group's threads have read it.
template <int kBytes>
struct BandRing {
  static constexpr int kStageBytes = kBytes;

  uint32_t memory;
  uint32_t full;
  uint32_t empty;
  volatile int32_t* band;  // of the segment in each stage, where it is the first of its band
  int num_stages;
  int stage = 0;
  uint32_t parity = 0;

  __device__ uint32_t segment() const { return memory + static_cast<uint32_t>(stage * kBytes); }
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

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/// The first band is the group's own; the next is the first that nobody has taken.
__device__ inline int64_t first_band(int group) {
  return static_cast<int64_t>(blockIdx.x) * kGroups + group;
}
__device__ inline int64_t take_band(const BandScan& p) {
  return static_cast<int64_t>(gridDim.x) * kGroups + atomicAdd(p.num_taken, 1U);
}

/// By one thread: copies all segments of all bands of a group. Some may come before the queries are
/// there.
template <int kBytes, typename Copy>
__device__ void fill_ring(const BandScan& p, BandRing<kBytes> ring, int group, const Copy& copy) {
  const auto copy_segments = [&](int64_t band, int first, int end) {
    for (int segment = first; segment < end; ++segment) {
      await_phase(ring.empty_barrier(), ring.parity ^ 1);
      if (segment == 0) ring.band[ring.stage] = static_cast<int32_t>(band);
      expect_bytes(ring.full_barrier(), kBytes);
      copy(ring.segment(), band, segment, ring.full_barrier());
      ring.advance();
    }
  };
  int64_t band = first_band(group);
  int num_early = min(kEarlyBytes / kBytes, p.num_segments);
  if (band < p.num_bands) copy_segments(band, 0, num_early);
  await_launched_before();
  while (band < p.num_bands) {
    const int64_t next = take_band(p);  // not looked at before this band is on its way
    copy_segments(band, num_early, p.num_segments);
    num_early = 0;
    band = next;
  }
  await_phase(ring.empty_barrier(), ring.parity ^ 1);
  ring.band[ring.stage] = kNoBand;
  arrive(ring.full_barrier());
}

/// A block's work. By one thread copy(to, band, segment, barrier) starts copying a segment; by a
/// group multiply(ring, queries) takes what comes until it is kNoBand.
template <int kBytes, int kTokens, typename Copy, typename Multiply>
__device__ void scan_bands(const CUtensorMap& queries, const BandScan& p, const Copy& copy,
                           const Multiply& multiply) {
  extern __shared__ __align__(kTileAlignment) uint8_t memory[];
  __shared__ __align__(8) uint64_t barriers[1 + 2 * kGroups * kMostBandStages];
  __shared__ int32_t bands[kGroups][kMostBandStages];
  const uint32_t queries_came = shared_address(barriers);
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  const uint32_t tiles = shared_address(memory);
  const auto query_bytes = static_cast<uint32_t>(p.num_segments * kTokens * kTileRowBytes);
  const auto ring_of = [&](int g) {
    const uint32_t first = queries_came + 8 + static_cast<uint32_t>(2 * g * kMostBandStages * 8);
    return BandRing<kBytes>{tiles + query_bytes + static_cast<uint32_t>(g * p.num_stages * kBytes),
                            first, first + kMostBandStages * 8, bands[g], p.num_stages};
  };
  if (threadIdx.x == 0) {
    init_barrier(queries_came, 1);
    for (int g = 0; g < kGroups; ++g) {
      BandRing<kBytes> ring = ring_of(g);
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
      fill_ring(p, ring_of(filled), filled, copy);
    }
  } else {
    take_registers<232>();
    await_launched_before();
    await_phase(queries_came, 0);
    multiply(ring_of(group), tiles);
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

/// A kernel that scans bands for up to num_tokens. Built for another GPU it does nothing and has no
/// shared memory, by which the host can tell.
template <typename Kernel>
struct BandChoice {
  int num_tokens;
  Kernel kernel;
};

template <typename Kernel>
bool has_code(const BandChoice<Kernel>& choice) {
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) != 9) return false;
  cudaFuncAttributes attributes{};
  expect_success(cudaFuncGetAttributes(&attributes, choice.kernel), "a scan of bands");
  return attributes.sharedSizeBytes > 0;
}

/// Shared memory of a block for queries and rings. The barriers fill less than kTileAlignment.
inline int64_t band_memory_bytes() {
  return device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) - kTileAlignment;
}

/// The smallest kernel for `num_tokens`, or the largest whose queries leave room for
/// `least_stages`; null if none does.
template <typename Kernel, size_t kNum>
const BandChoice<Kernel>* choose_bands(const BandChoice<Kernel> (&choices)[kNum],
                                       int64_t num_tokens, int64_t query_row_bytes,
                                       int64_t stage_bytes, int least_stages) {
  const BandChoice<Kernel>* best = nullptr;
  const int64_t most_bytes = band_memory_bytes();
  for (const auto& choice : choices) {
    const int64_t ring_bytes = most_bytes - choice.num_tokens * query_row_bytes;
    if (ring_bytes < kGroups * least_stages * stage_bytes) break;
    best = &choice;
    if (choice.num_tokens >= num_tokens) break;
  }
  return best;
}

/// Launches the pass of `count` tokens from `token` on.
template <typename Kernel, typename Keys>
void launch_bands(const BandChoice<Kernel>& choice, const RouteBatchParams& params,
                  const RouteBatchSpace& space, const float* key_scale, const Keys& keys,
                  int stage_bytes, int64_t token, int64_t count, CudaStream stream) {
  BandScan scan{};
  scan.facts = {key_scale,         space.token_scale,
                space.block_owner, space.chunk_score,
                params.num_chunks, static_cast<int>(space.num_tokens / kTokenStep)};
  scan.first_block = static_cast<int>(token / kTokenStep);
  scan.num_taken = space.num_taken + token / kTokenStep;
  scan.num_bands = (params.num_chunks + kGroupChunks - 1) / kGroupChunks;
  scan.num_segments = static_cast<int>(space.query_row_bytes / kTileRowBytes);
  const auto most_bytes = static_cast<int>(band_memory_bytes());
  const auto query_bytes = static_cast<int>(choice.num_tokens * space.query_row_bytes);
  scan.num_stages = std::min((most_bytes - query_bytes) / (kGroups * stage_bytes), kMostBandStages);
  const int shared_bytes = query_bytes + kGroups * scan.num_stages * stage_bytes;
  const CUtensorMap queries = tile_map(space.query + token * space.query_row_bytes, count,
                                       space.query_row_bytes, choice.num_tokens);
  // The same at every call: it belongs to the kernel, whoever else launches it now.
  expect_success(
      cudaFuncSetAttribute(choice.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most_bytes),
      "a scan of bands");
  const int64_t blocks = device_attribute(cudaDevAttrMultiProcessorCount);
  const int64_t grid = std::min(blocks, (scan.num_bands + kGroups - 1) / kGroups);
  launch_dependent(choice.kernel, static_cast<unsigned>(grid), kBandThreads,
                   static_cast<size_t>(shared_bytes), static_cast<cudaStream_t>(stream), queries,
                   keys, scan);
}

}  // namespace msa::kernels
