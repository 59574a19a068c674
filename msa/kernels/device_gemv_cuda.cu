// One block a multiprocessor, each with an equal share of the rows. One thread streams the share
// through a ring in shared memory; it fills the ring before the kernel ahead has ended, since
// weights depend on nothing. The others hold x in registers, each the same columns of every row
// that its team multiplies; where rows are short in bytes there are several teams. Two blocks fit
// on a multiprocessor, so that the ring of the next product fills while this one ends.

#include <algorithm>
#include <type_traits>

#include "msa/kernels/device_gemv.h"
#include "msa/kernels/gemv_share.cuh"
#include "msa/kernels/largest_row.cuh"

namespace msa::kernels {
namespace {

constexpr int64_t kRingBytes = 104 << 10;      // of two blocks on a multiprocessor
constexpr int64_t kMostRingBytes = 208 << 10;  // of one, where rows are very long

template <typename Shape>
using Columns = float[Shape::kPieces][Shape::kColumns];

/// Piece j of a row that the thread multiplies.
template <typename Shape>
__device__ int own_piece(int j) {
  return j * Shape::kTeamThreads + static_cast<int>(threadIdx.x) % Shape::kTeamThreads;
}

/// A thread's columns of a vector, zero beyond its end; `Read` is read_eight or read_constants. Of
/// many columns no branch parts the loads, so that all are under way at once.
template <typename Shape, typename Read>
__device__ void read_columns(const float* vector, int row_pieces, Columns<Shape>& columns,
                             const Read& read) {
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
    const int piece = own_piece<Shape>(j);
    const float* from = vector + min(piece, row_pieces - 1) * Shape::kColumns;
#pragma unroll
    for (int i = 0; i < Shape::kColumns; i += kEight) {
      float eight[kEight] = {};
      if (Shape::kIsQuantized || piece < row_pieces) read(from + i, eight);
#pragma unroll
      for (int n = 0; n < kEight; ++n) columns[j][i + n] = piece < row_pieces ? eight[n] : 0.0F;
    }
  }
}

/// x = norm * (x * factor), with few registers.
template <typename Shape>
__device__ void scale_columns(const float* norm, int row_pieces, float factor, Columns<Shape>& x) {
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
    const int piece = own_piece<Shape>(j);
    if (piece >= row_pieces) break;
#pragma unroll
    for (int i = 0; i < Shape::kColumns; ++i) {
      x[j][i] = __ldg(norm + piece * Shape::kColumns + i) * (x[j][i] * factor);
    }
  }
}

/// Waits for x and leaves a thread's columns of it, normalised if there is a norm.
template <typename Shape>
__device__ void take_x(const DeviceGemvParams& p, int row_pieces, GemvShared<Shape>& shared,
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
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  if (threadIdx.x % kWarpThreads == 0) shared.squares[warp] = squares;
  meet<Shape>();
  squares = 0;
  const float* of_team = shared.squares + warp / Shape::kTeamWarps * Shape::kTeamWarps;
#pragma unroll
  for (int w = 0; w < Shape::kTeamWarps; ++w) squares += of_team[w];
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

/// x as the threads that multiply hold it.
template <typename Shape>
struct HeldX {
  Columns<Shape> columns;

  __device__ void take(const DeviceGemvParams& p, int row_pieces, GemvShared<Shape>& shared) {
    take_x<Shape>(p, row_pieces, shared, columns);
  }
};

template <typename Shape>
struct HeldQuantizedX {
  QuantizedX pieces[Shape::kPieces];

  __device__ void take(const DeviceGemvParams& p, int row_pieces, GemvShared<Shape>& shared) {
    Columns<Shape> columns;
    take_x<Shape>(p, row_pieces, shared, columns);
#pragma unroll
    for (int j = 0; j < Shape::kPieces; ++j) pieces[j] = quantize_x<Shape::kType>(columns[j]);
  }
};

/// A thread's columns of its team's lines of a stage, line l at line_at(l).
template <typename Shape, typename LineAt>
__device__ void multiply_lines(const Share& share, const LineAt& line_at, const HeldX<Shape>& x,
                               float (&sum)[Shape::kTeamLines]) {
  float2 pair[Shape::kTeamLines] = {};
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
    const int piece = own_piece<Shape>(j);
    if (piece >= share.row_pieces) break;
    uint4 weights[Shape::kTeamLines];
#pragma unroll
    for (int l = 0; l < Shape::kTeamLines; ++l) {
      weights[l] = kHasRing ? line_at(l)[piece] : __ldcs(line_at(l) + piece);
    }
#pragma unroll
    for (int l = 0; l < Shape::kTeamLines; ++l) {
      multiply_piece(weights[l], x.columns[j], pair[l]);
    }
  }
#pragma unroll
  for (int l = 0; l < Shape::kTeamLines; ++l) sum[l] = pair[l].x + pair[l].y;
}

template <typename Shape, typename LineAt>
__device__ void multiply_lines(const Share& share, const LineAt& line_at,
                               const HeldQuantizedX<Shape>& x, float (&sum)[Shape::kTeamLines]) {
  const auto row_at = [&](int l) { return reinterpret_cast<const std::byte*>(line_at(l)); };
#pragma unroll
  for (int l = 0; l < Shape::kTeamLines; ++l) sum[l] = 0;
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
    const int piece = min(own_piece<Shape>(j), share.row_pieces - 1);  // behind the end x is zero
    WeightPiece<Shape::kType> weights[Shape::kTeamLines];
#pragma unroll
    for (int l = 0; l < Shape::kTeamLines; ++l) {
      weights[l] = load_piece<Shape::kType>(row_at(l), piece, share.scale_offset);
    }
#pragma unroll
    for (int l = 0; l < Shape::kTeamLines; ++l) add_piece(weights[l], x.pieces[j], sum[l]);
  }
#pragma unroll
  for (int l = 0; l < Shape::kTeamLines; ++l) {
    sum[l] *= row_factor<Shape::kType>(row_at(l), share.scale_offset);
  }
}

/// Thread r finishes row first_of_batch + r of the share; returns its candidate.
template <typename Shape>
__device__ uint64_t finish_row(const DeviceGemvParams& p, int64_t row,
                               const GemvShared<Shape>& shared, float before) {
  float sum[Shape::kParts] = {};
#pragma unroll
  for (int part = 0; part < Shape::kParts; ++part) {
#pragma unroll
    for (int w = 0; w < Shape::kTeamWarps; ++w) {
      sum[part] += shared.partial[part * kBatchRows + threadIdx.x][w];
    }
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
  const int first_line = warp / Shape::kTeamWarps * Shape::kTeamLines;  // of the team, in a stage
  std::conditional_t<Shape::kIsQuantized, HeldQuantizedX<Shape>, HeldX<Shape>> x;
  x.take(p, share.row_pieces, shared);
  uint64_t best = 0;
  int slot = 0;
  [[maybe_unused]] uint32_t parity = 0;
  for (int64_t batch = 0; batch < share.num_rows; batch += kBatchRows) {
    const int64_t batch_rows = min(int64_t{kBatchRows}, share.num_rows - batch);
    const int64_t own_row = share.first + batch + threadIdx.x;
    const bool finishes = threadIdx.x < batch_rows;
    const float before = finishes && p.adds ? __ldcg(p.y + own_row) : 0.0F;
    for (int64_t row = 0; row < batch_rows; row += Shape::kRows) {
      const uint4* lines = ring + slot * (Shape::kLines * share.row_units);
      const auto line_at = [&](int l) {
        const int line = first_line + l;
        if constexpr (kHasRing) return lines + line * share.row_units;
        const int64_t here = min(batch + row + line % Shape::kRows, share.num_rows - 1);
        return share.line(p, here, line / Shape::kRows);
      };
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
      await_phase(shared_address(shared.full + slot), parity);
#endif
      float sum[Shape::kTeamLines];
      multiply_lines(share, line_at, x, sum);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
      arrive(shared_address(shared.empty + slot));
      if (++slot == num_stages) {
        slot = 0;
        parity ^= 1;
      }
#endif
      const float total = warp_sums(sum);
      constexpr int kLanesOfLine = kWarpThreads / Shape::kTeamLines;
      if (lane % kLanesOfLine == 0) {
        const int line = first_line + lane / kLanesOfLine;
        const int64_t place = line / Shape::kRows * kBatchRows + row + line % Shape::kRows;
        shared.partial[place][warp % Shape::kTeamWarps] = total;
      }
    }
    meet<Shape>();
    if (finishes) best = larger(best, finish_row<Shape>(p, own_row, shared, before));
    meet<Shape>();
  }
  if (p.token != nullptr) {
    write_largest_row(best, shared.best, p.token_workspace, p.token, [] { meet<Shape>(); });
  }
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kBlockThreads, Shape::kBlocks)
    gemv_kernel(const __grid_constant__ DeviceGemvParams p, int num_stages) {
  extern __shared__ uint4 ring[];  // [num_stages, kLines, row_units]
  __shared__ GemvShared<Shape> shared;
  const Share share = Share::of<Shape>(p);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (threadIdx.x == Shape::kThreads) {
    for (int i = 0; i < num_stages; ++i) {
      init_barrier(shared_address(shared.full + i), 1);
      init_barrier(shared_address(shared.empty + i), Shape::kThreads);
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

template <WeightType kType, bool kIsGated, int kThreads, int kTeams, int kPieces, int kLines>
void launch(const DeviceGemvParams& params, cudaStream_t stream) {
  using Shape =
      GemvShape<kType, kIsGated, kThreads, kTeams, kPieces, kIsGated ? (kLines + 1) / 2 : kLines>;
  auto* kernel = gemv_kernel<Shape>;
  int64_t num_stages = 1;
  int64_t ring_bytes = 0;
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9) {
    const int64_t stage_bytes = Shape::kLines * weight_layout(kType, params.num_columns).row_bytes;
    cudaFuncAttributes facts{};
    expect_success(cudaFuncGetAttributes(&facts, kernel), "gemv");
    const auto sum_bytes = static_cast<int>(facts.sharedSizeBytes);
    const int most_bytes = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) - sum_bytes;
    const int half_bytes = device_attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) / 2 -
                           device_attribute(cudaDevAttrReservedSharedMemoryPerBlock) - sum_bytes;
    const int64_t of_two = std::min<int64_t>(kRingBytes, half_bytes);
    const int64_t wanted = 2 * stage_bytes > of_two ? kMostRingBytes : of_two;
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
  constexpr WeightType kType = WeightType::kBFloat16;
  const int64_t columns = params.num_columns;
  if (columns <= 2048) return launch<kType, kIsGated, 256, 1, 1, 4>(params, stream);
  if (columns <= 2560) return launch<kType, kIsGated, 256, 1, 2, 4>(params, stream);
  if (columns <= 4096) return launch<kType, kIsGated, 256, 1, 2, 2>(params, stream);
  if (columns <= 10240) return launch<kType, kIsGated, 256, 1, 5, 1>(params, stream);
  if (columns <= 16384) return launch<kType, kIsGated, 256, 1, 8, 1>(params, stream);
  launch<kType, kIsGated, 512, 1, 8, 1>(params, stream);
}

/// About as many bytes, and as few idle threads as can be.
template <WeightType kType, bool kIsGated>
void launch_quantized(const DeviceGemvParams& params, cudaStream_t stream) {
  constexpr int kMore = kType == WeightType::kInt4 ? 2 : 1;
  const int64_t columns = params.num_columns;
  if (columns <= 1024) return launch<kType, kIsGated, 256, 4, 1, 16>(params, stream);
  if (columns <= 2560) return launch<kType, kIsGated, 320, 2, 1, 8 * kMore>(params, stream);
  if (columns <= 5120) return launch<kType, kIsGated, 320, 1, 1, 4 * kMore>(params, stream);
  if (columns <= 10240) return launch<kType, kIsGated, 320, 1, 2, 2 * kMore>(params, stream);
  if (columns <= 20480) return launch<kType, kIsGated, 320, 1, 4, kMore>(params, stream);
  launch<kType, kIsGated, 512, 1, 4, 1>(params, stream);
}

template <bool kIsGated>
void launch(const DeviceGemvParams& params, cudaStream_t stream) {
  switch (params.type) {
    case WeightType::kBFloat16:
      return launch_bfloat16<kIsGated>(params, stream);
    case WeightType::kInt8:
      return launch_quantized<WeightType::kInt8, kIsGated>(params, stream);
    case WeightType::kInt4:
      return launch_quantized<WeightType::kInt4, kIsGated>(params, stream);
  }
}

}  // namespace

void gemv_cuda(const DeviceGemvParams& params, CudaStream stream) {
  MSA_CHECK(params.num_rows > 0 && params.num_rows < 0xffffffff, "gemv: ", params.num_rows,
            " rows are not in [1, 2^32 - 1)");
  const int64_t step = weight_column_step(params.type);
  MSA_CHECK(params.num_columns > 0 && params.num_columns <= kLongestGemvRow &&
                params.num_columns % step == 0,
            "gemv: rows have a multiple of ", step, " columns up to ", kLongestGemvRow, ", got ",
            params.num_columns);
  MSA_CHECK(params.y != nullptr || (params.token != nullptr && !params.adds),
            "gemv: there is nowhere to write");
  auto* queue = params.is_gated ? launch<true> : launch<false>;
  queue(params, static_cast<cudaStream_t>(stream));
}

}  // namespace msa::kernels
