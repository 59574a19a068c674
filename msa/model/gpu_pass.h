#pragma once
// Tokens side by side on their way through a layer on the GPU: scratch, and what is queued before
// and after attention.

#include <cstdint>
#include <span>

#include "msa/base/bfloat16.h"
#include "msa/kernels/gpu_array.h"
#include "msa/model/config.h"
#include "msa/model/gpu_weights.h"
#include "msa/model/layer.h"

namespace msa::model {

/// Rows of one pass after another; the residual stream is float32, products read and write
/// bfloat16. Everything is queued on the stream given. For one stream at a time; gpu, config and
/// weights must outlive it.
class GpuPass {
 public:
  /// Room for `capacity` rows. Throws Error(kLimit) if the GPU has none.
  GpuPass(const kernels::Gpu& gpu, const ModelConfig& config, const GpuWeights& weights,
          int64_t capacity);

  int64_t capacity() const { return capacity_; }

  /// Token ids below V, at most capacity(): x then holds their embeddings.
  void set_tokens(std::span<const int32_t> tokens, kernels::CudaStream stream);

  /// At most capacity(). Throws Error(kInvalidArgument) for one beyond the model's.
  void set_positions(std::span<const int32_t> positions, kernels::CudaStream stream);

  /// joint = rows of the layer's input matrix times the norm of x, rows [first, first + count).
  void project(int64_t layer, const InputRows& rows, int64_t first, int64_t count,
               kernels::CudaStream stream);

  /// Heads of the `count` joint rows to their places, normalised and rotated: keys and values from
  /// `first_row` (device, null: 0) on; queries to query() unless the pass has none. Row 0 has
  /// position `first` of set_positions.
  void spread(int64_t layer, const InputRows& rows, bool is_document, bool has_query, int64_t first,
              int64_t count, BFloat16* key, BFloat16* value, const int32_t* first_row,
              kernels::CudaStream stream);

  /// x += output and MLP of attended(), whose row 0 belongs to row `first` of x; `count` rows.
  void finish(int64_t layer, int64_t first, int64_t count, kernels::CudaStream stream);

  float* x() const { return x_.data(); }                   // [capacity, E]
  const BFloat16* joint() const { return joint_.data(); }  // [rows, InputRows::count]
  BFloat16* query() const { return query_.data(); }        // [rows, H, D]
  BFloat16* attended() const { return attended_.data(); }  // [rows, H, D]

 private:
  void multiply(const BFloat16* x, const BFloat16* weight, void* out, int64_t rows, int64_t outputs,
                int64_t columns, bool adds, kernels::CudaStream stream);

  const kernels::Gpu& gpu_;
  const ModelConfig& config_;
  const GpuWeights& weights_;
  int64_t capacity_ = 0;
  kernels::GpuArray<int32_t> tokens_;
  kernels::GpuArray<int32_t> positions_;
  kernels::GpuArray<float> x_;
  kernels::GpuArray<BFloat16> normed_;
  kernels::GpuArray<BFloat16> joint_;
  kernels::GpuArray<BFloat16> query_;
  kernels::GpuArray<BFloat16> attended_;
  kernels::GpuArray<BFloat16> gate_up_;
  kernels::GpuArray<BFloat16> gated_;
  kernels::GpuArray<std::byte> workspace_;
};

}  // namespace msa::model
