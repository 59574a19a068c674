// One pass over the keys. Every warp walks over chunks of its own, 32 at a time, with a ring of
// copies in flight that nobody else waits for; the queries stay in shared memory. Tensor cores
// multiply, the maxima stay in registers, and a
// chunk's score is written once a pass.

#include <cuda_runtime.h>

#include <algorithm>

#include "msa/kernels/chunk_scores.cuh"
#include "msa/kernels/matrix_fragments.cuh"
#include "msa/kernels/route_scan_tiles.h"

namespace msa::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpThreads;
constexpr int kTileChunks = 32;   // of a warp
constexpr int kSliceBytes = 128;  // of a key, copied together
constexpr int kStages = 3;        // slices in the ring of a warp
constexpr int kStageBytes = kTileChunks * kSliceBytes;
constexpr int kPartBytes = 16;           // one copy, one row of a matrix fragment
constexpr int kRowPadding = kPartBytes;  // rows of queries begin in different banks

struct ScanParams {
  const uint8_t* key;
  const float* key_scale;
  const uint8_t* query;  // of this pass
  const float* token_scale;
  const int32_t* block_owner;
  uint32_t* chunk_score;
  int64_t num_chunks;
  int row_bytes;        // of a key
  int query_row_bytes;  // whole kSliceBytes
  int num_tokens;       // of this pass
  bool is_first;        // pass: no question has begun before
};

/// The copies of one warp: slices of its chunks' keys, tile after tile.
struct Ring {
  uint32_t memory;  // kStages stages
  const uint8_t* key;
  int64_t end;   // chunk behind the warp's last
  int64_t tile;  // first chunk of the slice that is copied next
  int slice_begin = 0;
  int stage = 0;
  int row_bytes;

  /// A part stands where no two of eight rows meet in a bank.
  __device__ static uint32_t place(int row, int part) {
    return static_cast<uint32_t>(row * kSliceBytes + ((part ^ (row & 7)) * kPartBytes));
  }

  __device__ void copy_next(int lane) {
    if (tile < end) {
      const int part = lane % 8;
      const int byte = slice_begin + part * kPartBytes;
      const bool is_inside = byte < row_bytes;
#pragma unroll
      for (int i = 0; i < kTileChunks / 4; ++i) {
        const int row = i * 4 + lane / 8;
        const int64_t chunk = min(tile + row, end - 1);
        copy_part(memory + stage * kStageBytes + place(row, part),
                  key + chunk * row_bytes + (is_inside ? byte : 0), is_inside ? kPartBytes : 0);
      }
      slice_begin += kSliceBytes;
      if (slice_begin >= row_bytes) {
        slice_begin = 0;
        tile += kTileChunks;
      }
      stage = stage + 1 == kStages ? 0 : stage + 1;
    }
    commit_copies();
  }
};

/// Rows of a tile that a lane sees in the sums: lane / 4 + 8 i.
constexpr int kLaneRows = kTileChunks / 8;

/// The scales of a tile's keys, by lane rows.
struct TileScales {
  float scale[kLaneRows];

  template <bool kHasScale>
  __device__ void load(const ScanParams& p, int64_t tile, int64_t end, int lane) {
#pragma unroll
    for (int i = 0; i < kLaneRows; ++i) {
      const int64_t chunk = min(tile + lane / 4 + 8 * i, end - 1);
      scale[i] = kHasScale ? p.key_scale[chunk] : 1.0F;
    }
  }
};

/// Keeps the scores of the tile's chunks for the questions of the blocks of tokens; those of a
/// question that began in the pass before are raised.
template <typename Sum, int kBlocks>
__device__ void keep_scores(const ScanParams& p, const TileScales& scales, int64_t tile,
                            int64_t end, const Sum (&sum)[2][kBlocks][4], const float* token_scale,
                            const int32_t* owner, int continued, int lane) {
  float best[kLaneRows];
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    const bool is_first = n == 0 || owner[n] != owner[n - 1];
#pragma unroll
    for (int i = 0; i < kLaneRows; ++i) {
      float left = static_cast<float>(sum[i / 2][n][i % 2 * 2]);
      float right = static_cast<float>(sum[i / 2][n][i % 2 * 2 + 1]);
      if constexpr (kIsInt8<Sum>) {
        left *= token_scale[n * 8 + lane % 4 * 2];
        right *= token_scale[n * 8 + lane % 4 * 2 + 1];
      }
      const float larger = fmaxf(left, right);
      best[i] = is_first ? larger : fmaxf(best[i], larger);
    }
    if (n + 1 < kBlocks && owner[n + 1] == owner[n]) continue;
    if (owner[n] < 0) break;  // behind the last token
#pragma unroll
    for (int i = 0; i < kLaneRows; ++i) {
      float score = best[i];
      score = fmaxf(score, __shfl_xor_sync(kAllLanes, score, 1));
      score = fmaxf(score, __shfl_xor_sync(kAllLanes, score, 2));
      const int64_t chunk = tile + lane / 4 + 8 * i;
      if (lane % 4 != 0 || chunk >= end) continue;
      uint32_t* kept = p.chunk_score + owner[n] * p.num_chunks + chunk;
      const uint32_t value = kept_score(score * scales.scale[i]);
      *kept = owner[n] == continued ? max(*kept, value) : value;
    }
  }
}

/// kTokens queries stay in shared memory, then the rings of the warps.
template <typename Sum, int kTokens>
__global__ void __launch_bounds__(kThreads, 1) scan_kernel(const __grid_constant__ ScanParams p) {
  constexpr int kBlocks = kTokens / 8;
  extern __shared__ __align__(128) uint8_t memory[];
  __shared__ float token_scale[kTokens];
  __shared__ int32_t owner[kBlocks];
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int query_stride = p.query_row_bytes + kRowPadding;

  const int64_t num_warps = static_cast<int64_t>(gridDim.x) * kWarps;
  const int64_t place = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  const int64_t begin = p.num_chunks * place / num_warps;
  const int64_t end = p.num_chunks * (place + 1) / num_warps;
  Ring ring{shared_address(memory) + static_cast<uint32_t>(kTokens * query_stride) +
                static_cast<uint32_t>(warp * kStages * kStageBytes),
            p.key, end, begin};
  ring.row_bytes = p.row_bytes;
  for (int i = 0; i < kStages - 1; ++i) ring.copy_next(lane);

  // Places behind the last token repeat it and belong to nobody.
  const int row_parts = p.query_row_bytes / kPartBytes;
  for (int i = static_cast<int>(threadIdx.x); i < kTokens * row_parts; i += kThreads) {
    const int token = i / row_parts;
    const int part = i % row_parts;
    const int source = min(token, p.num_tokens - 1);
    *reinterpret_cast<uint4*>(memory + token * query_stride + part * kPartBytes) =
        *reinterpret_cast<const uint4*>(p.query + static_cast<int64_t>(source) * p.query_row_bytes +
                                        part * kPartBytes);
  }
  for (int i = static_cast<int>(threadIdx.x); i < kTokens; i += kThreads) {
    token_scale[i] = p.token_scale[min(i, p.num_tokens - 1)];
    if (i % 8 == 0) owner[i / 8] = i < p.num_tokens ? p.block_owner[i / 8] : -1;
  }
  __syncthreads();

  const int before = p.is_first ? -1 : p.block_owner[-1];
  const int continued = before == owner[0] ? before : -1;

  // Addresses of this lane's rows in the fragments.
  const int matrix = lane / 8;
  const uint32_t query_rows =
      shared_address(memory) +
      static_cast<uint32_t>(((matrix / 2) * 8 + lane % 8) * query_stride + matrix % 2 * kPartBytes);
  const int key_row = matrix % 2 * 8 + lane % 8;

  int stage = 0;
  for (int64_t tile = begin; tile < end; tile += kTileChunks) {
    TileScales scales;
    scales.load<kIsInt8<Sum>>(p, tile, end, lane);
    Sum sum[2][kBlocks][4] = {};
    for (int slice = 0; slice < p.row_bytes; slice += kSliceBytes) {
      await_copies<kStages - 2>();
      __syncwarp();
      ring.copy_next(lane);
      const uint32_t keys = ring.memory + static_cast<uint32_t>(stage * kStageBytes);
#pragma unroll
      for (int step = 0; step < kSliceBytes / 32; ++step) {
        uint32_t a[2][4];
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          load_blocks(keys + Ring::place(m * 16 + key_row, step * 2 + matrix / 2), a[m]);
        }
#pragma unroll
        for (int n = 0; n < kBlocks; n += 2) {
          uint32_t b[4];
          load_blocks(query_rows + static_cast<uint32_t>(n * 8 * query_stride + slice + step * 32),
                      b);
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            multiply(sum[m][n], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
            multiply(sum[m][n + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
          }
        }
      }
      stage = stage + 1 == kStages ? 0 : stage + 1;
    }
    keep_scores(p, scales, tile, end, sum, token_scale, owner, continued, lane);
  }
}

using ScanKernel = void (*)(ScanParams);

struct Choice {
  int num_tokens;
  ScanKernel kernel;
};

template <typename Sum>
constexpr Choice kChoices[] = {{16, scan_kernel<Sum, 16>}, {32, scan_kernel<Sum, 32>},
                               {48, scan_kernel<Sum, 48>}, {64, scan_kernel<Sum, 64>},
                               {96, scan_kernel<Sum, 96>}, {128, scan_kernel<Sum, 128>}};

int64_t shared_bytes(int num_tokens, int64_t query_row_bytes) {
  return num_tokens * (query_row_bytes + kRowPadding) + kWarps * kStages * kStageBytes;
}

constexpr int kStaticBytes = 1024;  // token_scale and owner

/// The smallest kernel for `num_tokens`, or the largest that fits the multiprocessor.
template <typename Sum>
const Choice& choose(int64_t num_tokens, int64_t query_row_bytes, int64_t most_bytes) {
  const Choice* best = nullptr;
  for (const Choice& choice : kChoices<Sum>) {
    if (shared_bytes(choice.num_tokens, query_row_bytes) + kStaticBytes > most_bytes) break;
    best = &choice;
    if (choice.num_tokens >= num_tokens) break;
  }
  MSA_CHECK(best != nullptr, "route_batch: 16 queries of ", query_row_bytes,
            " bytes do not fit this GPU's ", most_bytes, " bytes of shared memory");
  return *best;
}

template <typename Sum>
void scan(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream) {
  const int most_bytes = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  const int blocks = device_attribute(cudaDevAttrMultiProcessorCount);
  constexpr int64_t kValueBytes = kIsInt8<Sum> ? 1 : 2;
  for (int64_t token = 0; token < space.num_tokens;) {
    const int64_t left = space.num_tokens - token;
    const Choice& choice = choose<Sum>(left, space.query_row_bytes, most_bytes);
    const int64_t count = std::min<int64_t>(left, choice.num_tokens);
    const auto bytes = static_cast<int>(shared_bytes(choice.num_tokens, space.query_row_bytes));
    // The same at every call: it belongs to the kernel, whoever else launches it now.
    expect_success(cudaFuncSetAttribute(choice.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        most_bytes - kStaticBytes),
                   "scan_keys_in_passes");
    choice.kernel<<<blocks, kThreads, bytes, static_cast<cudaStream_t>(stream)>>>(
        {static_cast<const uint8_t*>(params.key), params.key_scale,
         space.query + token * space.query_row_bytes, space.token_scale + token,
         space.block_owner + token / kTokenStep, space.chunk_score, params.num_chunks,
         static_cast<int>(params.key_dim * kValueBytes), static_cast<int>(space.query_row_bytes),
         static_cast<int>(count), token == 0});
    expect_launched("scan_keys_in_passes");
    token += count;
  }
}

}  // namespace

void scan_keys_in_passes(const RouteBatchParams& params, const RouteBatchSpace& space,
                         CudaStream stream) {
  if (params.key_type == NumberType::kInt8) {
    scan<int32_t>(params, space, stream);
  } else {
    scan<float>(params, space, stream);
  }
}

void scan_keys(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream) {
  if (can_scan_keys_in_bands(params, space)) {
    scan_keys_in_bands(params, space, stream);
  } else if (can_scan_keys_in_tiles()) {
    scan_keys_in_tiles(params, space, stream);
  } else {
    scan_keys_in_passes(params, space, stream);
  }
}

}  // namespace msa::kernels
