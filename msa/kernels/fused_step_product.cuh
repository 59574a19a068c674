#pragma once
// Matrix times vector inside a fused step: x from where all blocks left it, W from the block's
// ring. Only where __CUDA_ARCH__ >= 900.

#include "msa/kernels/fused_step_block.cuh"
#include "msa/kernels/gemv_lines.cuh"
#include "msa/kernels/largest_row.cuh"

namespace msa::kernels {

/// y[r] = (adds ? y[r] : 0) + W[r] x', as DeviceGemvParams.
struct StepProduct {
  StepMatrix matrix;
  const float* x;     // [K]
  const float* norm;  // [K] weights; null: x is not normalised
  float* y;           // [M]
  bool adds;
  float* kept;         // [K], written by the first block: x as it is; null: not asked for
  int32_t* token;      // as DeviceGemvParams
  std::byte* largest;  // its workspace
};

template <int kPieces>
using StepColumns = float[kPieces][kEight];

/// Waits for x and leaves a thread's columns of it, normalised if there is a norm.
template <int kPieces>
__device__ void take_x(const StepProduct& product, float eps, StepBlock& block,
                       StepColumns<kPieces>& x) {
  constexpr bool kHoldsNorm = kPieces <= 2;  // else too many registers
  const int row_pieces = product.matrix.num_columns / kEight;
  StepColumns<kPieces> norm = {};
  if (kHoldsNorm && product.norm != nullptr) {
#pragma unroll
    for (int j = 0; j < kPieces; ++j) {
      const int piece = j * kStepThreads + static_cast<int>(threadIdx.x);
      if (piece < row_pieces) read_constants(product.norm + piece * kEight, norm[j]);
    }
  }
  block.await_others();
#pragma unroll
  for (int j = 0; j < kPieces; ++j) {
    const int piece = j * kStepThreads + static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < kEight; ++i) x[j][i] = 0;
    if (piece >= row_pieces) continue;
    read_eight(product.x + piece * kEight, x[j]);
    if (product.kept != nullptr && blockIdx.x == 0)
      write_eight(product.kept + piece * kEight, x[j]);
  }
  if (product.norm == nullptr) return;
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kPieces; ++j) {
#pragma unroll
    for (int i = 0; i < kEight; ++i) squares += x[j][i] * x[j][i];
  }
  squares = warp_sum(squares);
  if (block.lane == 0) block.squares[block.warp] = squares;
  meet_step();
  squares = 0;
#pragma unroll
  for (int w = 0; w < kStepWarps; ++w) squares += block.squares[w];
  const float factor = 1.0F / sqrtf(squares / static_cast<float>(product.matrix.num_columns) + eps);
#pragma unroll
  for (int j = 0; j < kPieces; ++j) {
    const int piece = j * kStepThreads + static_cast<int>(threadIdx.x);
    if (!kHoldsNorm && piece < row_pieces) {
      read_constants(product.norm + piece * kEight, norm[j]);
    }
#pragma unroll
    for (int i = 0; i < kEight; ++i) x[j][i] = norm[j][i] * (x[j][i] * factor);
  }
}

/// Multiplies a stage of the ring and leaves each warp's sums of its rows.
template <int kPieces, int kRows, int kParts>
__device__ void multiply_stage(StepBlock& block, int row_pieces, int row,
                               const StepColumns<kPieces>& x) {
  constexpr int kLines = kRows * kParts;
  const uint4* lines = block.await_stage(kLines * row_pieces);
  float2 pair[kLines] = {};
#pragma unroll
  for (int j = 0; j < kPieces; ++j) {
    const int piece = j * kStepThreads + static_cast<int>(threadIdx.x);
    if (piece >= row_pieces) break;
    uint4 weights[kLines];
#pragma unroll
    for (int l = 0; l < kLines; ++l) weights[l] = lines[l * row_pieces + piece];
#pragma unroll
    for (int l = 0; l < kLines; ++l) multiply_piece(weights[l], x[j], pair[l]);
  }
  block.free_stage(kLines * row_pieces);
  float sum[kLines];
#pragma unroll
  for (int l = 0; l < kLines; ++l) sum[l] = pair[l].x + pair[l].y;
  const float total = warp_sums(sum);
  constexpr int kLanesOfLine = kWarpThreads / kLines;
  if (block.lane % kLanesOfLine != 0) return;
  const int line = block.lane / kLanesOfLine;
  const int place = line / kRows * kStepBatch + row + line % kRows;
  block.sums[place * kStepWarps + block.warp] = total;
}

/// Thread r has row r of the batch, whose sums kWarps warps left.
template <int kParts, int kWarps = kStepWarps>
__device__ float finish_row(const StepBlock& block, float before) {
  float sum[kParts] = {};
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const float* sums = block.sums + (part * kStepBatch + threadIdx.x) * kWarps;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum[part] += sums[w];
  }
  return before + (kParts == 2 ? silu(sum[0]) * sum[kParts - 1] : sum[0]);
}

template <int kPieces, int kRows, int kParts>
__device__ void multiply(const StepProduct& product, float eps, StepBlock& block) {
  static_assert(kStepBatch % kRows == 0);
  const StepRows rows = rows_of_block(product.matrix);
  const int row_pieces = product.matrix.num_columns / kEight;
  StepColumns<kPieces> x;
  take_x<kPieces>(product, eps, block, x);
  uint64_t best = 0;
  for (int batch = 0; batch < rows.count; batch += kStepBatch) {
    const int batch_rows = min(kStepBatch, rows.count - batch);
    const int own_row = rows.first + batch + static_cast<int>(threadIdx.x);
    const bool finishes = static_cast<int>(threadIdx.x) < batch_rows;
    const float before = finishes && product.adds ? __ldcg(product.y + own_row) : 0.0F;
    for (int row = 0; row < batch_rows; row += kRows) {
      multiply_stage<kPieces, kRows, kParts>(block, row_pieces, row, x);
    }
    meet_step();
    if (finishes) {
      const float y = finish_row<kParts>(block, before);
      product.y[own_row] = y;
      if (product.token != nullptr) best = larger(best, row_candidate(y, own_row));
    }
    meet_step();
  }
  if (product.token != nullptr) {
    write_largest_row(best, block.best, product.largest, product.token, [] { meet_step(); });
  }
}

/// As stage_rows.
template <int kParts>
__device__ void multiply_matrix(const StepProduct& product, float eps, StepBlock& block) {
  const int columns = product.matrix.num_columns;
  if (columns <= 1280) {
    multiply<1, stage_rows(1280, kParts), kParts>(product, eps, block);
  } else if (columns <= 2560) {
    multiply<1, stage_rows(2560, kParts), kParts>(product, eps, block);
  } else if (columns <= 5120) {
    multiply<2, stage_rows(5120, kParts), kParts>(product, eps, block);
  } else if (columns <= 10240) {
    multiply<4, stage_rows(10240, kParts), kParts>(product, eps, block);
  } else {
    multiply<8, stage_rows(20480, kParts), kParts>(product, eps, block);
  }
}

}  // namespace msa::kernels
