#pragma once
// Matrix times vector inside a fused step, for rows of small integers. Short rows have too few
// bytes for all threads of the block: two teams of warps share a stage's rows of W, each holds all
// of x. Only where __CUDA_ARCH__ >= 900.

#include "msa/kernels/fused_step_product.cuh"
#include "msa/kernels/quantized_lines.cuh"

namespace msa::kernels {

/// How a row of up to kColumns_ columns is divided.
template <WeightType kType_, int kParts_, int kColumns_>
struct QuantizedShape {
  static constexpr WeightType kType = kType_;
  static constexpr int kParts = kParts_;
  static constexpr int kTeams = kColumns_ <= 2560 ? 2 : 1;
  static constexpr int kWarps = kStepWarps / kTeams;  // of a team
  static constexpr int kThreads = kWarps * kWarpThreads;
  static constexpr int kPieces = kColumns_ / (kThreads * kQuantizedColumns);  // a thread
  static constexpr int kRows = stage_rows(kType, kColumns_, kParts);          // of y, a stage
  static constexpr int kLines = kRows * kParts;                               // of W
  static constexpr int kTeamLines = kLines / kTeams;
  static_assert(kStepBatch % kRows == 0 && kLines % kTeams == 0 &&
                kPieces * kThreads * kQuantizedColumns == kColumns_);
  using X = QuantizedX[kPieces];

  /// Piece j of a row that the thread multiplies.
  static __device__ int piece(int j) {
    return j * kThreads + static_cast<int>(threadIdx.x) % kThreads;
  }
};

/// Eight at a time, as read_eight and read_constants.
struct ReadWritten {
  __device__ void operator()(const float* from, float (&to)[kEight]) const { read_eight(from, to); }
};
struct ReadConstants {
  __device__ void operator()(const float* from, float (&to)[kEight]) const {
    read_constants(from, to);
  }
};

/// Piece `piece` of a vector, zero behind its end. No branch parts the loads of several pieces, so
/// all are under way at once.
template <typename Read>
__device__ void read_piece(const float* vector, int piece, int row_pieces,
                           float (&columns)[kQuantizedColumns], const Read& read) {
  const float* from = vector + min(piece, row_pieces - 1) * kQuantizedColumns;
#pragma unroll
  for (int i = 0; i < kQuantizedColumns; i += kEight) {
    float eight[kEight];
    read(from + i, eight);
#pragma unroll
    for (int n = 0; n < kEight; ++n) columns[i + n] = piece < row_pieces ? eight[n] : 0.0F;
  }
}

/// What normalises x, of which a thread has `squares`.
template <typename Shape>
__device__ float norm_factor(const StepProduct& product, float eps, float squares,
                             StepBlock& block) {
  squares = warp_sum(squares);
  if (block.lane == 0) block.squares[block.warp] = squares;
  meet_step();
  squares = 0;
  const float* of_team = block.squares + block.warp / Shape::kWarps * Shape::kWarps;
#pragma unroll
  for (int w = 0; w < Shape::kWarps; ++w) squares += of_team[w];
  return 1.0F / sqrtf(squares / static_cast<float>(product.matrix.num_columns) + eps);
}

/// As take_x, in integers.
template <typename Shape>
__device__ void take_quantized_x(const StepProduct& product, float eps, StepBlock& block,
                                 typename Shape::X& out) {
  constexpr bool kHoldsNorm = Shape::kPieces <= 2;  // else too many registers
  const int row_pieces = product.matrix.num_columns / kQuantizedColumns;
  float x[Shape::kPieces][kQuantizedColumns];
  float norm[kHoldsNorm ? Shape::kPieces : 1][kQuantizedColumns];
  if (kHoldsNorm && product.norm != nullptr) {
#pragma unroll
    for (int j = 0; j < Shape::kPieces; ++j) {
      read_piece(product.norm, Shape::piece(j), row_pieces, norm[j], ReadConstants());
    }
  }
  block.await_others();
  float squares = 0;
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
    read_piece(product.x, Shape::piece(j), row_pieces, x[j], ReadWritten());
  }
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
#pragma unroll
    for (int i = 0; i < kQuantizedColumns; ++i) squares += x[j][i] * x[j][i];
    if (product.kept == nullptr || blockIdx.x != 0 || Shape::piece(j) >= row_pieces) continue;
#pragma unroll
    for (int i = 0; i < kQuantizedColumns; ++i) {
      product.kept[Shape::piece(j) * kQuantizedColumns + i] = x[j][i];
    }
  }
  const float factor =
      product.norm == nullptr ? 1 : norm_factor<Shape>(product, eps, squares, block);
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
    if (product.norm != nullptr) {
      auto& weights = norm[kHoldsNorm ? j : 0];
      if (!kHoldsNorm) {
        read_piece(product.norm, Shape::piece(j), row_pieces, weights, ReadConstants());
      }
#pragma unroll
      for (int i = 0; i < kQuantizedColumns; ++i) x[j][i] = weights[i] * (x[j][i] * factor);
    }
    out[j] = quantize_x<Shape::kType>(x[j]);
  }
}

/// Multiplies a stage of the ring and leaves each warp's sums of its team's rows.
template <typename Shape>
__device__ void multiply_quantized_stage(StepBlock& block, const ContentLayout& layout, int row,
                                         const typename Shape::X& x) {
  constexpr int kTeamLines = Shape::kTeamLines;
  const int row_bytes = static_cast<int>(layout.row_bytes);
  const int scale_offset = static_cast<int>(layout.scale_offset);
  const int row_pieces = static_cast<int>(layout.num_values) / kQuantizedColumns;
  const int num_units = Shape::kLines * (row_bytes / 16);
  const int first_line = block.warp / Shape::kWarps * kTeamLines;
  const auto* lines =
      reinterpret_cast<const std::byte*>(block.await_stage(num_units)) + first_line * row_bytes;
  float sum[kTeamLines] = {};
#pragma unroll
  for (int j = 0; j < Shape::kPieces; ++j) {
    const int piece = min(Shape::piece(j), row_pieces - 1);  // behind the end x is zero
    WeightPiece<Shape::kType> weights[kTeamLines];
#pragma unroll
    for (int l = 0; l < kTeamLines; ++l) {
      weights[l] = load_piece<Shape::kType>(lines + l * row_bytes, piece, scale_offset);
    }
#pragma unroll
    for (int l = 0; l < kTeamLines; ++l) add_piece(weights[l], x[j], sum[l]);
  }
#pragma unroll
  for (int l = 0; l < kTeamLines; ++l) {
    sum[l] *= row_factor<Shape::kType>(lines + l * row_bytes, scale_offset);
  }
  block.free_stage(num_units);
  const float total = warp_sums(sum);
  constexpr int kLanesOfLine = kWarpThreads / kTeamLines;
  if (block.lane % kLanesOfLine != 0) return;
  const int line = first_line + block.lane / kLanesOfLine;
  const int place = line / Shape::kRows * kStepBatch + row + line % Shape::kRows;
  block.sums[place * Shape::kWarps + block.warp % Shape::kWarps] = total;
}

/// As multiply.
template <typename Shape>
__device__ void multiply_quantized_rows(const StepProduct& product, float eps, StepBlock& block) {
  const StepRows rows = rows_of_block(product.matrix);
  const ContentLayout layout = weight_layout(Shape::kType, product.matrix.num_columns);
  typename Shape::X x;
  take_quantized_x<Shape>(product, eps, block, x);
  uint64_t best = 0;
  for (int batch = 0; batch < rows.count; batch += kStepBatch) {
    const int batch_rows = min(kStepBatch, rows.count - batch);
    const int own_row = rows.first + batch + static_cast<int>(threadIdx.x);
    const bool finishes = static_cast<int>(threadIdx.x) < batch_rows;
    const float before = finishes && product.adds ? __ldcg(product.y + own_row) : 0.0F;
    for (int row = 0; row < batch_rows; row += Shape::kRows) {
      multiply_quantized_stage<Shape>(block, layout, row, x);
    }
    meet_step();
    if (finishes) {
      const float y = finish_row<Shape::kParts, Shape::kWarps>(block, before);
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
template <WeightType kType, int kParts>
__device__ void multiply_quantized(const StepProduct& product, float eps, StepBlock& block) {
  const int columns = product.matrix.num_columns;
  if (columns <= 2560) {
    multiply_quantized_rows<QuantizedShape<kType, kParts, 2560>>(product, eps, block);
  } else if (columns <= 5120) {
    multiply_quantized_rows<QuantizedShape<kType, kParts, 5120>>(product, eps, block);
  } else if (columns <= 10240) {
    multiply_quantized_rows<QuantizedShape<kType, kParts, 10240>>(product, eps, block);
  } else {
    multiply_quantized_rows<QuantizedShape<kType, kParts, 20480>>(product, eps, block);
  }
}

}  // namespace msa::kernels
