// One block a multiprocessor, each with an equal share of the rows. One thread streams the share
// through a ring in shared memory; it fills the ring before the kernel ahead has ended, since
// weights depend on nothing. The others hold x in registers, each the same columns of every row.
// Two blocks fit on a multiprocessor, so that the ring of the next product fills while this one
// ends.

#include <algorithm>

#include "msa/kernels/device_gemv.h"
#include "msa/kernels/gemv_share.cuh"
#include "msa/kernels/largest_row.cuh"

namespace msa::kernels {
namespace {

constexpr int64_t kRingBytes = 104 << 10;      // of two blocks on a multiprocessor
constexpr int64_t kMostRingBytes = 208 << 10;  // of one, where rows are very long

template <typename Shape>
using Columns = float[Shape::kPieces][Shape::kColumns];

/// A thread's columns of a vector, zero beyond its end; `Read` is read_eight or read_constants.
template <typename Shape, typename Read>
__device__ void read_columns(const float* vector, int64_t row_pieces, Columns<Shape>& columns,
                             const Read& read) {
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
    const int64_t piece = j * Shape::kThreads + threadIdx.x;
#pragma unroll
    for (int i = 0; i < Shape::kColumns; i += kEight) {
      float eight[kEight] = {};
      if (piece < row_pieces) read(vector + piece * Shape::kColumns + i, eight);
#pragma unroll
      for (int n = 0; n < kEight; ++n) columns[j][i + n] = eight[n];
    }
  }
}

/// x = norm * (x * factor), with few registers.
template <typename Shape>
__device__ void scale_columns(const float* norm, int64_t row_pieces, float factor,
                              Columns<Shape>& x) {
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
    const int64_t piece = j * Shape::kThreads + threadIdx.x;
    if (piece >= row_pieces) break;
#pragma unroll
    for (int i = 0; i < Shape::kColumns; ++i) {
      x[j][i] = __ldg(norm + piece * Shape::kColumns + i) * (x[j][i] * factor);
    }
  }
}

/// Waits for x and leaves a thread's columns of it, normalised if there is a norm.
template <typename Shape>
__device__ void take_x(const DeviceGemvParams& p, int64_t row_pieces, GemvShared<Shape>& shared,
                       Columns<Shape>& x) {
  constexpr bool kHoldsNorm = Shape::kPieces * Shape::kColumns <= 16;  // else too many registers
  Columns<Shape> norm = {};
  if (kHoldsNorm && p.norm != nullptr) {
    read_columns<Shape>(p.norm, row_pieces, norm,
                        [](const float* from, float(&to)[kEight]) { read_constants(from, to); });
  }
  await_launched_before();
  read_columns<Shape>(p.x, row_pieces, x,
                      [](const float* from, float(&to)[kEight]) { read_eight(from, to); });
  if (p.norm == nullptr) return;
  float squares = 0;
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
#pragma unroll
    for (int i = 0; i < Shape::kColumns; ++i) squares += x[j][i] * x[j][i];
  }
  squares = warp_sum(squares);
  if (threadIdx.x % kWarpThreads == 0) shared.squares[threadIdx.x / kWarpThreads] = squares;
  meet<Shape>();
  squares = 0;
#pragma unroll
  for (int w = 0; w < Shape::kWarps; ++w) squares += shared.squares[w];
  const float factor = 1.0F / sqrtf(squares / static_cast<float>(p.num_columns) + p.eps);
  if constexpr (kHoldsNorm) {
#pragma unroll
    for (int j = 0; j < Shape::kPieces; ++j) {
#pragma unroll
      for (int i = 0; i < Shape::kColumns; ++i) x[j][i] = norm[j][i] * (x[j][i] * factor);
    }
  } else {
    scale_columns<Shape>(p.norm, row_pieces, factor, x);
  }
}

/// Adds a thread's columns of rows [row, row + kRows) of the share; `lines` is their stage, or null
/// where there is no ring.
template <typename Shape>
__device__ void multiply_lines(const DeviceGemvParams& p, const Share& share, int64_t row,
                               const uint4* lines, const Columns<Shape>& x,
                               float2 (&sum)[Shape::kLines]) {
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
    const int64_t piece = j * Shape::kThreads + threadIdx.x;
    if (piece >= share.row_pieces) break;
    uint4 weights[Shape::kLines];
#pragma unroll
    for (int l = 0; l < Shape::kLines; ++l) {
      if constexpr (kHasRing) {
        weights[l] = lines[l * share.row_pieces + piece];
      } else {
        const int64_t here = min(row + l % Shape::kRows, share.num_rows - 1);
        weights[l] = __ldcs(share.line(p, here, l / Shape::kRows) + piece);
      }
    }
#pragma unroll
    for (int l = 0; l < Shape::kLines; ++l) multiply_piece(weights[l], x[j], sum[l]);
  }
}

/// Thread r finishes row first_of_batch + r of the share; returns its candidate.
template <typename Shape>
__device__ uint64_t finish_row(const DeviceGemvParams& p, int64_t row,
                               const GemvShared<Shape>& shared, float before,
                               const float (&scale)[Shape::kParts]) {
  float sum[Shape::kParts] = {};
#pragma unroll
  for (int part = 0; part < Shape::kParts; ++part) {
#pragma unroll
    for (int w = 0; w < Shape::kWarps; ++w) {
      sum[part] += shared.partial[part * kBatchRows + threadIdx.x][w];
    }
    sum[part] *= scale[part];
  }
  const float y = before + (Shape::kIsGated ? silu(sum[0]) * sum[Shape::kParts - 1] : sum[0]);
  if (p.y != nullptr) p.y[row] = y;
  return row_candidate(y, row);
}

/// The threads that multiply.
template <typename Shape>
__device__ void multiply_share(const DeviceGemvParams& p, const Share& share, int num_stages,
                               const uint4* ring, GemvShared<Shape>& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  Columns<Shape> x;
  take_x<Shape>(p, share.row_pieces, shared, x);
  uint64_t best = 0;
  int slot = 0;
  [[maybe_unused]] uint32_t parity = 0;
  for (int64_t batch = 0; batch < share.num_rows; batch += kBatchRows) {
    const int64_t batch_rows = min(int64_t{kBatchRows}, share.num_rows - batch);
    const int64_t own_row = share.first + batch + threadIdx.x;
    const bool finishes = threadIdx.x < batch_rows;
    const float before = finishes && p.adds ? __ldcg(p.y + own_row) : 0.0F;
    float scale[Shape::kParts];
#pragma unroll
    for (int part = 0; part < Shape::kParts; ++part) {
      const bool has_scale = finishes && p.row_scale != nullptr;
      scale[part] = has_scale ? __ldg(p.row_scale + part * p.num_rows + own_row) : 1.0F;
    }
    for (int64_t row = 0; row < batch_rows; row += Shape::kRows) {
      float2 pair[Shape::kLines] = {};
      const uint4* lines = ring + slot * (Shape::kLines * share.row_pieces);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
      await_phase(shared_address(shared.full + slot), parity);
#endif
      multiply_lines<Shape>(p, share, batch + row, lines, x, pair);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
      __syncwarp();
      if (lane == 0) arrive(shared_address(shared.empty + slot));
      if (++slot == num_stages) {
        slot = 0;
        parity ^= 1;
      }
#endif
      float sum[Shape::kLines];
#pragma unroll
      for (int l = 0; l < Shape::kLines; ++l) sum[l] = pair[l].x + pair[l].y;
      const float total = warp_sums(sum);
      constexpr int kLanesOfLine = kWarpThreads / Shape::kLines;
      if (lane % kLanesOfLine == 0) {
        const int line = lane / kLanesOfLine;
        const int64_t place = line / Shape::kRows * kBatchRows + row + line % Shape::kRows;
        shared.partial[place][warp] = total;
      }
    }
    meet<Shape>();
    if (finishes) best = larger(best, finish_row<Shape>(p, own_row, shared, before, scale));
    meet<Shape>();
  }
  if (p.token != nullptr) {
    write_largest_row(best, shared.best, p.token_workspace, p.token, [] { meet<Shape>(); });
  }
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kBlockThreads, Shape::kBlocks)
    gemv_kernel(const __grid_constant__ DeviceGemvParams p, int num_stages) {
  extern __shared__ uint4 ring[];  // [num_stages, kLines, row_pieces]
  __shared__ GemvShared<Shape> shared;
  const Share share = Share::of<Shape>(p);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (threadIdx.x == Shape::kThreads) {
    for (int i = 0; i < num_stages; ++i) {
      init_barrier(shared_address(shared.full + i), 1);
      init_barrier(shared_address(shared.empty + i), Shape::kWarps);
    }
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x == Shape::kThreads) {
    copy_share<Shape>(p, share, num_stages, ring, shared);
  }
#endif
  if (threadIdx.x < Shape::kThreads) multiply_share<Shape>(p, share, num_stages, ring, shared);
}

template <typename Weight, bool kIsGated, int kThreads, int kPieces, int kLines>
void launch(const DeviceGemvParams& params, cudaStream_t stream) {
  using Shape =
      GemvShape<Weight, kIsGated, kThreads, kPieces, kIsGated ? (kLines + 1) / 2 : kLines>;
  auto* kernel = gemv_kernel<Shape>;
  int64_t num_stages = 1;
  int64_t ring_bytes = 0;
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9) {
    const int64_t stage_bytes =
        Shape::kLines * params.num_columns * static_cast<int64_t>(sizeof(Weight));
    cudaFuncAttributes facts{};
    expect_success(cudaFuncGetAttributes(&facts, kernel), "gemv");
    const int most_bytes = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) -
                           static_cast<int>(facts.sharedSizeBytes);
    const int64_t wanted = 2 * stage_bytes > kRingBytes ? kMostRingBytes : kRingBytes;
    num_stages =
        std::min<int64_t>(std::min<int64_t>(wanted, most_bytes) / stage_bytes, kMostStages);
    MSA_CHECK(num_stages > 0, "gemv: rows of ", params.num_columns,
              " columns do not fit this GPU's shared memory");
    ring_bytes = num_stages * stage_bytes;
    // Kernels that follow one another without a gap share one division of L1 and shared memory.
    expect_success(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                        cudaSharedmemCarveoutMaxShared),
                   "gemv");
    // The same at every call: it belongs to the kernel, whoever else launches it now.
    expect_success(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most_bytes),
        "gemv");
  }
  const int64_t num_blocks =
      std::min<int64_t>(params.num_rows, device_attribute(cudaDevAttrMultiProcessorCount));
  launch_dependent(kernel, static_cast<unsigned>(num_blocks), Shape::kBlockThreads,
                   static_cast<size_t>(ring_bytes), stream, params, static_cast<int>(num_stages));
  expect_launched("gemv");
}

/// Rows of at most 20 KiB stand together in a stage.
template <bool kIsGated>
void launch_bfloat16(const DeviceGemvParams& params, cudaStream_t stream) {
  const int64_t columns = params.num_columns;
  if (columns <= 2048) return launch<BFloat16, kIsGated, 256, 1, 4>(params, stream);
  if (columns <= 2560) return launch<BFloat16, kIsGated, 256, 2, 4>(params, stream);
  if (columns <= 4096) return launch<BFloat16, kIsGated, 256, 2, 2>(params, stream);
  if (columns <= 10240) return launch<BFloat16, kIsGated, 256, 5, 1>(params, stream);
  if (columns <= 16384) return launch<BFloat16, kIsGated, 256, 8, 1>(params, stream);
  launch<BFloat16, kIsGated, 512, 8, 1>(params, stream);
}

template <bool kIsGated>
void launch_int8(const DeviceGemvParams& params, cudaStream_t stream) {
  const int64_t columns = params.num_columns;
  if (columns <= 4096) return launch<int8_t, kIsGated, 256, 1, 4>(params, stream);
  if (columns <= 8192) return launch<int8_t, kIsGated, 256, 2, 2>(params, stream);
  if (columns <= 12288) return launch<int8_t, kIsGated, 256, 3, 2>(params, stream);
  launch<int8_t, kIsGated, 512, 4, 1>(params, stream);
}

}  // namespace

void gemv_cuda(const DeviceGemvParams& params, CudaStream stream) {
  const bool is_int8 = params.type == NumberType::kInt8;
  MSA_CHECK(is_int8 || params.type == NumberType::kBFloat16, "gemv: weights are bf16 or int8, not ",
            name_of(params.type));
  MSA_CHECK(params.num_rows > 0 && params.num_rows < 0xffffffff, "gemv: ", params.num_rows,
            " rows are not in [1, 2^32 - 1)");
  const int64_t step = is_int8 ? 16 : 8;
  MSA_CHECK(params.num_columns > 0 && params.num_columns <= kLongestGemvRow &&
                params.num_columns % step == 0,
            "gemv: rows have a multiple of ", step, " columns up to ", kLongestGemvRow, ", got ",
            params.num_columns);
  MSA_CHECK(params.y != nullptr || (params.token != nullptr && !params.adds),
            "gemv: there is nowhere to write");
  auto* launch = is_int8 ? (params.is_gated ? launch_int8<true> : launch_int8<false>)
                         : (params.is_gated ? launch_bfloat16<true> : launch_bfloat16<false>);
  launch(params, static_cast<cudaStream_t>(stream));
}

}  // namespace msa::kernels
