// A block holds a tile of query rows and walks over its keys from the last to the first, with the
// scores and the running softmax in registers (FlashAttention-2). The query heads that share a kv
// head are rows of one tile, so keys and values are read once for all of them. Where there are few
// tiles, the blocks of a cluster share a tile's keys and merge what they have through each other's
// shared memory.

#include <algorithm>

#include "msa/kernels/cluster.cuh"
#include "msa/kernels/device_code.cuh"
#include "msa/kernels/packed_attention.h"
#include "msa/kernels/packed_attention_tiles.h"
#include "msa/kernels/packed_attention_warp.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = kTileThreads;
constexpr int kStages = 2;  // steps in memory: one is copied while the other is worked on
constexpr float kLog2E = 1.44269504F;

template <int kDim, int kRowTiles>
struct Layout {
  static constexpr int kRows = kTileWarps * kRowTiles * 16;
  static constexpr int kQueryBytes = kRows * kDim * 2;
  static constexpr int kStepBytes = kKeys * kDim * 2;  // of keys, and of values
  static constexpr int kStageBytes = 2 * kStepBytes;
  static constexpr int kBytes = kQueryBytes + kStages * kStageBytes;
  static_assert(kRows * kDim * 4 <= kBytes, "a part of the result takes the place of all others");
};

/// What a block works on. A row is a query and one of the heads that share the kv head; the upper
/// half of its product with `reciprocal`, 2^32 / group rounded up, is its query.
struct Tile {
  int first_row;  // in its sequence
  int num_rows;   // of the sequence
  int group;      // H / G
  uint32_t reciprocal;
  int num_keys;
  int lead;  // with causal order, query i sees lead + i + 1 keys

  __device__ int query_of(int row) const {
    return group == 1 ? row : static_cast<int>(__umulhi(static_cast<uint32_t>(row), reciprocal));
  }
  __device__ int seen_by(int row, bool is_causal) const {
    return is_causal ? min(num_keys, lead + query_of(row) + 1) : num_keys;
  }
};

/// The first value of a row of [T, H, D].
__device__ int64_t row_place(const PackedAttentionParams& p, const Tile& tile, int64_t first_query,
                             int row) {
  const int query = tile.query_of(row);
  const int64_t head = blockIdx.y * tile.group + (row - query * tile.group);
  return ((first_query + query) * p.num_heads + head) * p.head_dim;
}

/// Copies the rows of one step of keys or values; those from `num_rows` on are zero. `from` is this
/// thread's part of its first row, `stride` lies between rows.
template <int kDim>
__device__ void copy_step(uint32_t to, const BFloat16* from, int64_t stride, int num_rows,
                          bool is_inside) {
  using R = Rows<kDim>;
  const int first = static_cast<int>(threadIdx.x) / R::kParts;
  to += R::place(first, static_cast<int>(threadIdx.x) % R::kParts);
  const int left = is_inside ? num_rows - first : 0;
#pragma unroll
  for (int i = 0; i < kKeys; i += R::kRowsPerPass) {
    copy_part(to + i * kDim * 2, from, i < left ? kPartBytes : 0);
    from += R::kRowsPerPass * stride;
  }
}

/// The place of four values of a float32 row, so that a warp's rows share few banks.
template <int kDim>
__device__ int part_place(int row, int column) {
  return row * kDim + (column ^ ((row & 3) * 8));
}

/// Writes the block's rows of the result; each warp its own, through its rows of the queries.
template <int kDim, int kRowTiles>
__device__ void write_out(const PackedAttentionParams& p, const Tile& tile, int64_t first_query,
                          const WarpTile<kDim, kRowTiles>& mine, uint8_t* memory, int warp,
                          int lane) {
  using R = Rows<kDim>;
  __syncwarp();
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = (warp * kRowTiles + m) * 16 + half * 8 + lane / 4;
      const float total = mine.total[m][half];
      const float factor = total > 0 ? 1.0F / total : 0.0F;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        *reinterpret_cast<uint32_t*>(memory + R::place(row, n) + lane % 4 * 4) =
            narrow_pair(mine.sum[m][n][half * 2] * factor, mine.sum[m][n][half * 2 + 1] * factor);
      }
    }
  }
  __syncwarp();
  const int part = lane % R::kParts;
  for (int i = lane / R::kParts; i < kRowTiles * 16; i += kWarpThreads / R::kParts) {
    const int row = warp * kRowTiles * 16 + i;
    if (tile.first_row + row >= tile.num_rows || part * kPartValues >= p.head_dim) continue;
    *reinterpret_cast<uint4*>(p.out + row_place(p, tile, first_query, tile.first_row + row) +
                              part * kPartValues) =
        *reinterpret_cast<const uint4*>(memory + R::place(row, part));
  }
}

/// The same where a cluster's blocks have a part of the keys each: every block merges some rows.
template <int kSplits, int kDim, int kRowTiles>
__device__ void merge_out(const PackedAttentionParams& p, const Tile& tile, int64_t first_query,
                          const WarpTile<kDim, kRowTiles>& mine, uint8_t* memory, int warp,
                          int lane, int split, float factor) {
  using R = Rows<kDim>;
  constexpr int kRows = Layout<kDim, kRowTiles>::kRows;
  __shared__ float2 state[kRows];  // largest score times factor, sum of numerators
  auto* rows = reinterpret_cast<float*>(memory);
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = (warp * kRowTiles + m) * 16 + half * 8 + lane / 4;
      if (lane % 4 == 0) {
        state[row] = {mine.best[m][half] * factor, mine.total[m][half]};
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        *reinterpret_cast<float2*>(rows + part_place<kDim>(row, n * 8 + lane % 4 * 2)) = {
            mine.sum[m][n][half * 2], mine.sum[m][n][half * 2 + 1]};
      }
    }
  }
  sync_cluster();
  constexpr int kCount = kRows / kSplits;
  const int begin = kCount * split;
  for (int i = static_cast<int>(threadIdx.x); i < kCount * R::kParts; i += kThreads) {
    const int row = begin + i / R::kParts;
    const int column = i % R::kParts * kPartValues;
    if (tile.first_row + row >= tile.num_rows || column >= p.head_dim) continue;
    float2 of_block[kSplits];
    float most = -INFINITY;
#pragma unroll
    for (int s = 0; s < kSplits; ++s) {
      of_block[s] = load_from_block(state + row, s);
      most = fmaxf(most, of_block[s].x);
    }
    const auto* low_place = reinterpret_cast<float4*>(rows + part_place<kDim>(row, column));
    const auto* high_place = reinterpret_cast<float4*>(rows + part_place<kDim>(row, column + 4));
    float total = 0;
    float4 low{};
    float4 high{};
#pragma unroll
    for (int s = 0; s < kSplits; ++s) {
      const float weight = most == -INFINITY ? 0.0F : exp2_fast(of_block[s].x - most);
      const float4 a = load_from_block(low_place, s);
      const float4 b = load_from_block(high_place, s);
      total += weight * of_block[s].y;
      low = {low.x + weight * a.x, low.y + weight * a.y, low.z + weight * a.z,
             low.w + weight * a.w};
      high = {high.x + weight * b.x, high.y + weight * b.y, high.z + weight * b.z,
              high.w + weight * b.w};
    }
    const float inverse = total > 0 ? 1.0F / total : 0.0F;
    *reinterpret_cast<uint4*>(p.out + row_place(p, tile, first_query, tile.first_row + row) +
                              column) = {narrow_pair(low.x * inverse, low.y * inverse),
                                         narrow_pair(low.z * inverse, low.w * inverse),
                                         narrow_pair(high.x * inverse, high.y * inverse),
                                         narrow_pair(high.z * inverse, high.w * inverse)};
  }
  sync_cluster();  // nobody ends while another reads its memory
}

/// blockIdx: a tile, the last first, and a part of its keys; a kv head; a sequence.
template <int kDim, int kRowTiles, int kSplits>
__global__ void __launch_bounds__(kThreads, 2)
    attend_kernel(const __grid_constant__ PackedAttentionParams p, uint32_t reciprocal) {
  using L = Layout<kDim, kRowTiles>;
  using R = Rows<kDim>;
  extern __shared__ __align__(256) uint8_t memory[];
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int split = static_cast<int>(blockIdx.x) % kSplits;
  const int64_t first_query = p.query_first[blockIdx.z];
  const int64_t first_key = p.key_first[blockIdx.z];
  const int num_queries = static_cast<int>(p.query_first[blockIdx.z + 1] - first_query);
  Tile tile{};
  tile.group = static_cast<int>(p.num_heads) / static_cast<int>(p.num_kv_heads);
  tile.reciprocal = reciprocal;
  tile.num_rows = num_queries * tile.group;
  tile.first_row =
      ((tile.num_rows + L::kRows - 1) / L::kRows - 1 - static_cast<int>(blockIdx.x) / kSplits) *
      L::kRows;
  if (tile.first_row < 0) return;  // the whole cluster
  tile.num_keys = static_cast<int>(p.key_first[blockIdx.z + 1] - first_key);
  tile.lead = tile.num_keys - num_queries;

  const int part = static_cast<int>(threadIdx.x) % R::kParts;
  const bool is_inside = part * kPartValues < p.head_dim;
  const uint32_t query = shared_address(memory);
#pragma unroll 4
  for (int row = static_cast<int>(threadIdx.x) / R::kParts; row < L::kRows;
       row += R::kRowsPerPass) {
    const bool is_row = tile.first_row + row < tile.num_rows && is_inside;
    const BFloat16* from = p.query;
    if (is_row) {
      from += row_place(p, tile, first_query, tile.first_row + row) + part * kPartValues;
    }
    copy_part(query + R::place(row, part), from, is_row ? kPartBytes : 0);
  }

  const int last_row = min(tile.first_row + L::kRows, tile.num_rows) - 1;
  const int num_steps = (max(tile.seen_by(last_row, p.is_causal), 0) + kKeys - 1) / kKeys;
  const int seen_by_all = tile.seen_by(tile.first_row, p.is_causal);
  const int first_step = num_steps * split / kSplits;
  const int64_t stride = p.num_kv_heads * p.head_dim;
  int step = num_steps * (split + 1) / kSplits - 1;
  // This thread's part of its first row of the step.
  int64_t place = (first_key + step * kKeys + static_cast<int>(threadIdx.x) / R::kParts) * stride +
                  blockIdx.y * p.head_dim + part * kPartValues;
  const float factor = p.scale * kLog2E;
  uint32_t keys = query + L::kQueryBytes;  // of the stage; its values stand behind them
  uint32_t next_keys = keys + L::kStageBytes;
  const auto copy = [&](uint32_t to) {
    const int num_rows = tile.num_keys - step * kKeys;
    copy_step<kDim>(to, p.key + place, stride, num_rows, is_inside);
    copy_step<kDim>(to + L::kStepBytes, p.value + place, stride, num_rows, is_inside);
    place -= kKeys * stride;
  };
  if (step >= first_step) copy(keys);
  commit_copies();

  WarpTile<kDim, kRowTiles> mine;
  mine.clear();
  while (step >= first_step) {
    await_copies<0>();
    __syncthreads();  // the step is there, and nobody reads the one before it
    const int first_key_of_step = step * kKeys;
    --step;
    if (step >= first_step) copy(next_keys);
    commit_copies();
    float score[kRowTiles][kKeys / 8][4] = {};
    mine.score_step(score, query, keys, warp, lane);
    if (first_key_of_step + kKeys > seen_by_all) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = tile.first_row + (warp * kRowTiles + m) * 16 + half * 8 + lane / 4;
          const int seen = tile.seen_by(row, p.is_causal) - first_key_of_step - lane % 4 * 2;
#pragma unroll
          for (int n = 0; n < kKeys / 8; ++n) {
            if (n * 8 >= seen) score[m][n][half * 2] = -INFINITY;
            if (n * 8 + 1 >= seen) score[m][n][half * 2 + 1] = -INFINITY;
          }
        }
      }
    }
    mine.weigh_step(score, factor);
    mine.add_values(score, keys + L::kStepBytes, lane);
    const uint32_t free = keys;
    keys = next_keys;
    next_keys = free;
  }
  await_copies<0>();
  __syncthreads();  // the queries' memory may be written, also where there was no step
  mine.finish();
  if constexpr (kSplits == 1) {
    write_out(p, tile, first_query, mine, memory, warp, lane);
  } else {
    merge_out<kSplits>(p, tile, first_query, mine, memory, warp, lane, split, factor);
  }
}

template <int kDim, int kRowTiles, int kSplits>
void attend(const PackedAttentionParams& params, int64_t num_tiles, CudaStream stream) {
  const auto kernel = attend_kernel<kDim, kRowTiles, kSplits>;
  constexpr int kBytes = Layout<kDim, kRowTiles>::kBytes;
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes) !=
      cudaSuccess) {
    expect_launched("packed_attention");
  }
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {kSplits, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim =
      dim3(static_cast<unsigned>(num_tiles * kSplits), static_cast<unsigned>(params.num_kv_heads),
           static_cast<unsigned>(params.num_sequences));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kBytes;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = kSplits > 1 ? 1 : 0;
  const auto group = static_cast<uint32_t>(params.num_heads / params.num_kv_heads);
  expect_success(cudaLaunchKernelEx(&config, kernel, params, 0xffffffffU / group + 1),
                 "packed_attention");
}

/// Few tiles are made twice as many, and shared by a cluster, while the GPU has room for more
/// blocks: two on a multiprocessor. A few more tiles than multiprocessors are halved for balance.
template <int kDim>
void attend(const PackedAttentionParams& params, CudaStream stream) {
  const int64_t rows = params.most_queries * (params.num_heads / params.num_kv_heads);
  const int64_t processors = device_attribute(cudaDevAttrMultiProcessorCount);
  const bool has_clusters = device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9;
  const auto num_tiles = [&](int64_t tile_rows) { return (rows + tile_rows - 1) / tile_rows; };
  const int64_t tall_tiles = num_tiles(Layout<kDim, 2>::kRows);
  const int64_t flat_tiles = num_tiles(Layout<kDim, 1>::kRows);
  const int64_t columns = params.num_kv_heads * params.num_sequences;
  if (!has_clusters) {
    attend<kDim, 2, 1>(params, tall_tiles, stream);
  } else if (flat_tiles * columns * 8 <= 2 * processors) {
    attend<kDim, 1, 8>(params, flat_tiles, stream);
  } else if (tall_tiles * columns * 4 <= 2 * processors) {
    attend<kDim, 2, 4>(params, tall_tiles, stream);
  } else if (tall_tiles * columns * 2 <= 3 * processors) {
    attend<kDim, 2, 2>(params, tall_tiles, stream);
  } else {
    attend<kDim, 2, 1>(params, tall_tiles, stream);
  }
}

}  // namespace

void packed_attention_cuda(const PackedAttentionParams& params, CudaStream stream) {
  MSA_CHECK(params.head_dim > 0 && params.head_dim <= 128 && params.head_dim % 16 == 0,
            "head_dim must be a multiple of 16 up to 128, got ", params.head_dim);
  MSA_CHECK(params.num_heads > 0 && params.num_kv_heads > 0 && params.num_kv_heads < 65536 &&
                params.num_heads % params.num_kv_heads == 0,
            "num_heads must be a multiple of num_kv_heads, got ", params.num_heads, " and ",
            params.num_kv_heads);
  const int64_t group = params.num_heads / params.num_kv_heads;
  MSA_CHECK(params.most_queries * group * group < int64_t{1} << 31,
            "most_queries * (num_heads / num_kv_heads)^2 must be below 2^31, got ",
            params.most_queries * group * group);
  MSA_CHECK(params.num_sequences < 65536, "at most 65535 sequences, got ", params.num_sequences);
  if (params.num_sequences == 0 || params.most_queries == 0) return;
  MSA_CHECK(params.most_queries <= params.num_queries, "a sequence has ", params.most_queries,
            " queries, all have ", params.num_queries);
  if (can_attend_in_tiles(params)) {
    attend_in_tiles(params, stream);
  } else if (params.head_dim <= 64) {
    attend<64>(params, stream);
  } else {
    attend<128>(params, stream);
  }
}

}  // namespace msa::kernels
