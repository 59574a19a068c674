// The scan of packed keys, in bands. A warp unpacks what it reads from the ring into registers, as
// one side of the products.

#include "msa/kernels/pack_keys.h"
#include "msa/kernels/route_scan_bands.cuh"

namespace msa::kernels {
namespace {

constexpr int kLeastStages = 2;
constexpr int kStageBytes = kBandChunks * kSegmentBytes;
static_assert(kBandChunks == kGroupChunks && kSegmentValues == kTileRowBytes);

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

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
__device__ void multiply_bands(const BandScan& p, BandRing<kStageBytes> ring, uint32_t queries) {
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

template <int kTokens>
__global__ void __launch_bounds__(kBandThreads, 1)
    packed_kernel(const __grid_constant__ CUtensorMap queries, const std::byte* packed,
                  const __grid_constant__ BandScan p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  const auto copy = [&, policy = read_once_policy()](uint32_t to, int64_t band, int segment,
                                                     uint32_t barrier) {
    copy_bulk(to, packed + (band * p.num_segments + segment) * kStageBytes, kStageBytes, barrier,
              policy);
  };
  scan_bands<kStageBytes, kTokens>(queries, p, copy,
                                   [&](const BandRing<kStageBytes>& ring, uint32_t tiles) {
                                     multiply_bands<kTokens>(p, ring, tiles);
                                   });
#endif
}

using Choice = BandChoice<void (*)(CUtensorMap, const std::byte*, BandScan)>;

constexpr Choice kChoices[] = {{48, packed_kernel<48>},
                               {64, packed_kernel<64>},
                               {96, packed_kernel<96>},
                               {128, packed_kernel<128>}};

}  // namespace

void scan_packed_keys(const RouteBatchParams& params, const RouteBatchSpace& space,
                      CudaStream stream) {
  if (!has_code(kChoices[0])) {
    throw Error(ErrorCode::kDevice,
                "routing over int4 keys needs a GPU of compute capability 9.0 (Hopper)");
  }
  for (int64_t token = 0; token < space.num_tokens;) {
    const int64_t left = space.num_tokens - token;
    const Choice* choice =
        choose_bands(kChoices, left, space.query_row_bytes, kStageBytes, kLeastStages);
    MSA_CHECK(choice != nullptr, "route_batch: ", kChoices[0].num_tokens, " queries of ",
              space.query_row_bytes, " bytes do not fit this GPU's shared memory");
    const int64_t count = std::min<int64_t>(left, choice->num_tokens);
    launch_bands(*choice, params, space, params.packed.scale, params.packed.value, kStageBytes,
                 token, count, stream);
    token += count;
  }
}

}  // namespace msa::kernels
