// The scan of keys as they are stored, in bands: tiles of keys times tiles of queries, both in
// shared memory. The L2 cache reads no more than a segment has of a row: what it read ahead would
// often be gone before its turn.

#include "msa/kernels/route_scan_bands.cuh"

namespace msa::kernels {
namespace {

constexpr int kStageBytes = kGroupChunks * kTileRowBytes;
constexpr int kLeastStages = 3;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

/// By each group of warps that multiplies: all its bands.
template <typename Sum, int kTokens>
__device__ void multiply_bands(const BandScan& p, BandRing<kStageBytes> ring, uint32_t queries) {
  constexpr int kBlocks = kTokens / static_cast<int>(kTokenStep);
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) % kGroupThreads / kWarpThreads;
  const BlockOwners owners(p.facts, p.first_block, kBlocks, lane);
  Sum sum[kParts][kTokens / 2];
  while (true) {
    await_phase(ring.full_barrier(), ring.parity);
    const int64_t band = ring.band[ring.stage];
    if (band == kNoBand) break;
    // What the maxima need is loaded now, and not looked at before the products are done.
    LaneChunk chunk{};
    chunk.load<kIsInt8<Sum>>(p.facts, band * kGroupChunks + warp * 16, lane);
    uint32_t last_empty = 0;
    for (int segment = 0; segment < p.num_segments; ++segment) {
      await_phase(ring.full_barrier(), ring.parity);
      const uint64_t keys = tile_descriptor(ring.segment());
      const uint64_t tile =
          tile_descriptor(queries + static_cast<uint32_t>(segment * kTokens * kTileRowBytes));
#pragma unroll
      for (int part = 0; part < kParts; ++part) hold(sum[part]);
      begin_products();
#pragma unroll
      for (int step = 0; step < kTileRowBytes / kProductBytes; ++step) {
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          const int key_byte = part * kInstructionChunks * kTileRowBytes + step * kProductBytes;
          Product<Sum, kTokens>::add(sum[part], keys + descriptor_step(key_byte),
                                     tile + descriptor_step(step * kProductBytes),
                                     segment > 0 || step > 0 ? 1 : 0);
        }
      }
      commit_products();
      // The segment before this one has been multiplied; its stage may be filled again.
      await_products<1>();
      if (segment > 0) arrive(last_empty);
      last_empty = ring.empty_barrier();
      ring.advance();
    }
    await_products<0>();
#pragma unroll
    for (int part = 0; part < kParts; ++part) hold(sum[part]);
    arrive(last_empty);
    keep_scores<Sum, kTokens>(
        p.facts, chunk, sum, p.first_block, owners.owner, lane, [&](int question, float score) {
          if (chunk.place >= p.facts.num_chunks) return;
          p.facts.chunk_score[question * p.facts.num_chunks + chunk.place] = kept_score(score);
        });
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename Sum, int kTokens>
__global__ void __launch_bounds__(kBandThreads, 1)
    band_kernel(const __grid_constant__ CUtensorMap queries,
                const __grid_constant__ CUtensorMap keys, const __grid_constant__ BandScan p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  const auto copy = [&, policy = read_once_policy()](uint32_t to, int64_t band, int segment,
                                                     uint32_t barrier) {
    copy_tile_once(to, keys, segment * kTileRowBytes, static_cast<int>(band) * kGroupChunks,
                   barrier, policy);
  };
  scan_bands<kStageBytes, kTokens>(queries, p, copy,
                                   [&](const BandRing<kStageBytes>& ring, uint32_t tiles) {
                                     multiply_bands<Sum, kTokens>(p, ring, tiles);
                                   });
#endif
}

using Choice = BandChoice<void (*)(CUtensorMap, CUtensorMap, BandScan)>;

template <typename Sum>
constexpr Choice kChoices[] = {{48, band_kernel<Sum, 48>},
                               {64, band_kernel<Sum, 64>},
                               {96, band_kernel<Sum, 96>},
                               {128, band_kernel<Sum, 128>}};

/// For all tokens, or null.
template <typename Sum>
const Choice* choice_for(const RouteBatchSpace& space) {
  const Choice* choice = choose_bands(kChoices<Sum>, space.num_tokens, space.query_row_bytes,
                                      kStageBytes, kLeastStages);
  return choice != nullptr && choice->num_tokens >= space.num_tokens ? choice : nullptr;
}

template <typename Sum>
void scan(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream) {
  const CUtensorMap keys =
      tile_map(params.key, params.num_chunks, params.key_dim * bytes_of(params.key_type),
               kGroupChunks, CU_TENSOR_MAP_L2_PROMOTION_L2_128B);
  launch_bands(*choice_for<Sum>(space), params, space, params.key_scale, keys, kStageBytes, 0,
               space.num_tokens, stream);
}

}  // namespace

bool can_scan_keys_in_bands(const RouteBatchParams& params, const RouteBatchSpace& space) {
  const Choice* choice =
      params.key_type == NumberType::kInt8 ? choice_for<int32_t>(space) : choice_for<float>(space);
  return choice != nullptr && has_code(*choice);
}

void scan_keys_in_bands(const RouteBatchParams& params, const RouteBatchSpace& space,
                        CudaStream stream) {
  if (params.key_type == NumberType::kInt8) {
    scan<int32_t>(params, space, stream);
  } else {
    scan<float>(params, space, stream);
  }
}

}  // namespace msa::kernels
