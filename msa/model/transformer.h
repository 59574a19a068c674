#pragma once
// Qwen3 with Memory Sparse Attention: weights on the CPU, document encoding, and what sessions run
// on.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/memory/encoded_documents.h"
#include "msa/model/config.h"
#include "msa/model/transformer_options.h"
#include "msa/model/weights.h"

namespace msa::model {

/// K and V of the prompt head in every layer, shared by all sessions.
struct PromptHead {
  int64_t num_tokens = 0;
  std::vector<at::Tensor> key;    // [L][tokens, G, D] float32
  std::vector<at::Tensor> value;  // [L][tokens, G, D] float32
};

/// Immutable after load; may be used from several threads.
class Transformer {
 public:
  /// Reads config.json and the weights of a Hugging Face folder.
  static std::unique_ptr<Transformer> load(FileSystem& files, const std::filesystem::path& folder,
                                           const TransformerOptions& options = {});

  /// Of weights that fit the config.
  static std::unique_ptr<Transformer> of(ModelConfig config, Weights weights);

  const ModelConfig& config() const { return config_; }
  const Weights& weights() const { return weights_; }
  Precision precision() const { return weights_.precision; }

  /// Runs documents side by side, each alone from position 0, up to the last router layer, and
  /// pools K, V and K^R there. Each document must have a token. Token ids must be below V.
  memory::EncodedDocuments encode_documents(std::span<const std::vector<int32_t>> documents) const;

  /// Runs the prompt head alone from position 0.
  PromptHead encode_head(std::span<const int32_t> tokens) const;

 private:
  Transformer(ModelConfig config, Weights weights);

  ModelConfig config_;
  Weights weights_;
};

}  // namespace msa::model
