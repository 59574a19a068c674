#pragma once
// A model on a GPU: encodes documents, and opens sessions.

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "msa/kernels/gpu_array.h"
#include "msa/memory/encoded_documents.h"
#include "msa/model/gpu_encoder.h"
#include "msa/model/gpu_weights.h"
#include "msa/model/session.h"
#include "msa/model/transformer.h"

namespace msa::model {

class GpuSessionSpace;

/// May be used from several threads; documents are encoded one call after the other.
class GpuModel {
 public:
  /// Copies the weights; decoding reads them in `step_type`. gpu, transformer and head must outlive
  /// it. Throws Error(kLimit) if there is no room, Error(kDevice) for a shape that the kernels do
  /// not know.
  GpuModel(const kernels::Gpu& gpu, const Transformer& transformer, const PromptHead& head,
           kernels::WeightType step_type = kernels::WeightType::kBFloat16);
  ~GpuModel();

  /// As Transformer::encode_documents, up to rounding.
  memory::EncodedDocuments encode_documents(std::span<const std::vector<int32_t>> documents);

  /// `options.memory`, unless null, must be a GpuSource of the same GPU; `options.head` null or
  /// the head given above.
  std::unique_ptr<Session> new_session(const SessionOptions& options);

  const kernels::Gpu& gpu() const { return gpu_; }
  const ModelConfig& config() const { return transformer_.config(); }
  const Transformer& transformer() const { return transformer_; }
  const GpuWeights& weights() const { return weights_; }

  /// K and V of the prompt head: [L][2][tokens, G, D].
  const kernels::GpuArray<BFloat16>& head_rows() const { return head_rows_; }

  /// A space that no session uses and that serves `options`, or a new one.
  std::unique_ptr<GpuSessionSpace> take_space(const SessionOptions& options);
  void give_space(std::unique_ptr<GpuSessionSpace> space);

  /// Takes the memory of spaces that nobody uses if there is not enough without it. Throws as
  /// GpuSessionSpace.
  std::unique_ptr<GpuSessionSpace> new_space(const SessionOptions& options, int64_t num_tokens);

  /// GPU memory of a session of so many tokens while it grows to them, about.
  int64_t session_bytes(int64_t num_tokens) const;

 private:
  const kernels::Gpu& gpu_;
  const Transformer& transformer_;
  GpuWeights weights_;
  kernels::GpuArray<BFloat16> head_rows_;
  std::mutex encoding_;
  std::unique_ptr<GpuEncoder> encoder_;  // made when it is needed
  std::mutex mutex_;
  std::vector<std::unique_ptr<GpuSessionSpace>> spaces_;  // free ones
};

}  // namespace msa::model
