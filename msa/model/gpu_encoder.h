#pragma once
// Documents on a GPU: through the model side by side, and pooled.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "msa/kernels/gpu_array.h"
#include "msa/memory/encoded_documents.h"
#include "msa/model/gpu_pass.h"
#include "msa/model/gpu_weights.h"
#include "msa/model/transformer.h"

namespace msa::model {

/// Keeps its memory between calls. Not for use by several threads at once.
class GpuEncoder {
 public:
  /// Tokens of one call: enough to fill the GPU.
  static constexpr int64_t kPassTokens = 16384;

  /// All must outlive it.
  GpuEncoder(const kernels::Gpu& gpu, const Transformer& transformer, const GpuWeights& weights);

  /// As Transformer::encode_documents, up to rounding. Throws Error(kLimit) if the GPU has no
  /// room.
  memory::EncodedDocuments encode(std::span<const std::vector<int32_t>> documents);

 private:
  struct Packed;

  void reserve(int64_t num_rows, int64_t num_documents, int64_t num_chunks);
  void run(const Packed& packed);
  void run_layer(int64_t layer, const Packed& packed);
  void pool(int64_t slot, int64_t row_stride, const Packed& packed);

  const kernels::Gpu& gpu_;
  const Transformer& transformer_;
  const GpuWeights& weights_;
  kernels::GpuStream stream_;
  std::unique_ptr<GpuPass> pass_;
  kernels::GpuArray<BFloat16> key_;         // [S, G, D] of the layer at hand
  kernels::GpuArray<BFloat16> value_;       // [S, G, D]
  kernels::GpuArray<int32_t> offsets_;      // [N + 1]
  kernels::GpuArray<int64_t> offsets64_;    // [N + 1], the same
  kernels::GpuArray<int64_t> first_chunk_;  // [N + 1]
  kernels::GpuArray<float> pooled_;         // [router layers][K, V, K^R][C, G, D]
  kernels::PinnedBuffer host_pooled_;       // the same
};

}  // namespace msa::model
