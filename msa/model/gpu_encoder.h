#pragma once
// Documents on a GPU: through the model side by side, and pooled; while one pass computes, the
// results of the one before it are taken away.

#include <array>
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
  /// Tokens of one pass, about: enough to fill the GPU.
  static constexpr int64_t kPassTokens = 32768;

  /// All must outlive it.
  GpuEncoder(const kernels::Gpu& gpu, const Transformer& transformer, const GpuWeights& weights);
  ~GpuEncoder();

  /// As Transformer::encode_documents, up to rounding; best with several passes of documents.
  /// Throws Error(kLimit) if the GPU has no room.
  memory::EncodedDocuments encode(std::span<const std::vector<int32_t>> documents);

 private:
  struct Packed;
  struct Lane;

  std::vector<Packed> pack(std::span<const std::vector<int32_t>> documents) const;
  void reserve(std::span<const Packed> passes);
  void encode_passes(std::span<const Packed> passes, memory::EncodedDocuments& out);
  void run(const Packed& packed, Lane& lane);
  void run_layer(int64_t layer, const Packed& packed, const Lane& lane);
  void pool(int64_t slot, int64_t row_stride, const Packed& packed, const Lane& lane);
  void collect(const Packed& packed, const Lane& lane, memory::EncodedDocuments& out) const;

  const kernels::Gpu& gpu_;
  const Transformer& transformer_;
  const GpuWeights& weights_;
  std::array<std::unique_ptr<Lane>, 2> lanes_;  // of passes in turn
  kernels::GpuStream stream_;
  std::unique_ptr<GpuPass> pass_;
  kernels::GpuArray<BFloat16> key_;    // [S, G, D] of the layer at hand
  kernels::GpuArray<BFloat16> value_;  // [S, G, D]
};

}  // namespace msa::model
