#pragma once
// The matrices of a decoding step in the order in which they are needed, the rows of each that a
// block multiplies, and how they stream through the block's ring. Only where __CUDA_ARCH__ >= 900.

#include "msa/kernels/bulk_copy.cuh"
#include "msa/kernels/fused_step.h"
#include "msa/kernels/weight_ring.cuh"

namespace msa::kernels {

enum LayerMatrix { kInput, kOutput, kGateUp, kDown, kNumLayerMatrices };

/// Rows of bfloat16 that stand together in a stage of the ring: about 20 KiB, up to 8 rows of W.
__host__ __device__ constexpr int stage_rows(int num_columns, int num_parts) {
  const int lines = num_columns <= 1280 ? 8 : num_columns <= 2560 ? 4 : num_columns <= 5120 ? 2 : 1;
  return lines >= num_parts ? lines / num_parts : 1;
}

/// Quantised ones: about as many bytes, and where rows are short as many for both teams of a block
/// (fused_step_quantized.cuh).
__host__ __device__ constexpr int quantized_stage_rows(WeightType type, int num_columns,
                                                       int num_parts) {
  const int lines = num_columns <= 2560 ? 8 : num_columns <= 5120 ? 4 : 2;
  return lines * (type == WeightType::kInt4 ? 2 : 1) / num_parts;
}

/// The same for rows of a type.
__host__ __device__ constexpr int stage_rows(WeightType type, int num_columns, int num_parts) {
  return type == WeightType::kBFloat16 ? stage_rows(num_columns, num_parts)
                                       : quantized_stage_rows(type, num_columns, num_parts);
}

/// y = W x; two parts where W[r] is a gate for W[num_rows + r].
struct StepMatrix {
  const void* weight;
  int num_rows;     // of y
  int num_columns;  // of W
  int num_parts;
  WeightType type;
  int turn;  // block that comes first where there are more rows than blocks can share evenly

  __device__ int rows_in_stage() const { return stage_rows(type, num_columns, num_parts); }
  __device__ uint32_t row_bytes() const {
    return static_cast<uint32_t>(weight_layout(type, num_columns).row_bytes);
  }
};

/// Rows of y.
struct StepRows {
  int first;
  int count;
};

/// As even as can be; the blocks from `turn` on have one more where it does not come out even.
__device__ inline StepRows rows_of_block(const StepMatrix& matrix) {
  const int num_blocks = static_cast<int>(gridDim.x);
  int place = static_cast<int>(blockIdx.x) - matrix.turn;
  if (place < 0) place += num_blocks;
  const int even = matrix.num_rows / num_blocks;
  const int left = matrix.num_rows % num_blocks;
  return {place * even + min(place, left), even + (place < left ? 1 : 0)};
}

/// Matrix `which` of a layer. From layer to layer another block has the row more, so that over a
/// step all read as much.
__device__ inline StepMatrix layer_matrix(const FusedStepShape& shape, const FusedStepLayer& layer,
                                          int number, int which) {
  const auto embed = static_cast<int>(shape.embed_dim);
  const auto ffn = static_cast<int>(shape.ffn_dim);
  const auto q = static_cast<int>(shape.num_heads * shape.head_dim);
  const auto kv = static_cast<int>(shape.num_kv_heads * shape.head_dim);
  StepMatrix matrix{};
  switch (which) {
    case kInput:
      matrix = {layer.input, 2 * kv + q, embed, 1, shape.type, 0};
      break;
    case kOutput:
      matrix = {layer.output, embed, q, 1, shape.type, 0};
      break;
    case kGateUp:
      matrix = {layer.gate_up, ffn, embed, 2, shape.type, 0};
      break;
    default:
      matrix = {layer.down, embed, ffn, 1, shape.type, 0};
  }
  const int num_blocks = static_cast<int>(gridDim.x);
  const int quarter = num_blocks * which / kNumLayerMatrices;
  matrix.turn =
      static_cast<int>((int64_t{number} * (matrix.num_rows % num_blocks) + quarter) % num_blocks);
  return matrix;
}

__device__ inline StepMatrix head_matrix(const FusedStepParams& p) {
  return {p.head,
          static_cast<int>(p.shape.vocab_size),
          static_cast<int>(p.shape.embed_dim),
          1,
          p.shape.type,
          0};
}

/// Bytes of a stage, of one part or two.
struct StepStage {
  const std::byte* from;
  const std::byte* second;  // null where there is one part
  uint32_t part_bytes;      // that come
  uint32_t part_space;      // in the ring
};

/// Goes through the stages of a block's rows of all matrices.
class StageWalk {
 public:
  /// `layers` lie in shared memory.
  __device__ StageWalk(const FusedStepParams& p, const FusedStepLayer* layers)
      : p_(p),
        layers_(layers),
        num_matrices_(static_cast<int>(p.shape.num_layers) * kNumLayerMatrices) {
    enter();
  }

  /// False behind the last one.
  __device__ bool next(StepStage& stage) {
    while (row_ >= rows_.count) {
      if (number_ == num_matrices_) return false;
      ++number_;
      enter();
    }
    const int step = matrix_.rows_in_stage();
    const int64_t first = rows_.first + row_;
    stage.from = static_cast<const std::byte*>(matrix_.weight) + first * row_bytes_;
    stage.second = matrix_.num_parts == 1
                       ? nullptr
                       : stage.from + static_cast<int64_t>(matrix_.num_rows) * row_bytes_;
    stage.part_bytes = static_cast<uint32_t>(min(step, rows_.count - row_)) * row_bytes_;
    stage.part_space = static_cast<uint32_t>(step) * row_bytes_;
    row_ += step;
    return true;
  }

 private:
  __device__ void enter() {
    const int layer = number_ / kNumLayerMatrices;
    matrix_ = number_ == num_matrices_
                  ? head_matrix(p_)
                  : layer_matrix(p_.shape, layers_[layer], layer, number_ % kNumLayerMatrices);
    rows_ = rows_of_block(matrix_);
    row_bytes_ = matrix_.row_bytes();
    row_ = 0;
  }

  const FusedStepParams& p_;
  const FusedStepLayer* layers_;
  int num_matrices_;  // of layers
  int number_ = 0;
  StepMatrix matrix_{};
  StepRows rows_{};
  uint32_t row_bytes_ = 0;
  int row_ = 0;
};

/// One thread: streams all that the block multiplies through its ring. No more than
/// `most_under_way` bytes and a stage are on their way at once.
__device__ __forceinline__ void stream_weights(const FusedStepParams& p,
                                               const FusedStepLayer* layers, RingBarriers& barriers,
                                               const std::byte* ring, uint32_t ring_bytes,
                                               uint32_t most_under_way) {
  RingWriter writer(barriers, ring_bytes, most_under_way);
  const uint64_t policy = read_once_policy();
  StageWalk walk(p, layers);
  StepStage stage{};
  while (walk.next(stage)) {
    const uint32_t num_parts = stage.second == nullptr ? 1 : 2;
    const uint32_t to = shared_address(ring) + writer.take(num_parts * stage.part_space);
    expect_bytes(writer.full(), num_parts * stage.part_bytes);
    copy_bulk(to, stage.from, stage.part_bytes, writer.full(), policy);
    if (num_parts == 2) {
      copy_bulk(to + stage.part_space, stage.second, stage.part_bytes, writer.full(), policy);
    }
    writer.pass(num_parts * stage.part_space);
  }
}

}  // namespace msa::kernels
