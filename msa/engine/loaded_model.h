#pragma once
// A model folder ready to use: weights, tokenizer, prompt layout, and what a bank must match.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/kernels/gpu.h"
#include "msa/kernels/weight_rows.h"
#include "msa/memory/chunk_source.h"
#include "msa/memory/encoded_documents.h"
#include "msa/model/config.h"
#include "msa/model/session.h"
#include "msa/model/transformer_options.h"
#include "msa/text/prompt_layout.h"
#include "msa/text/tokenizer.h"

namespace msa::model {
class GpuModel;
struct PromptHead;
class Transformer;
}  // namespace msa::model

namespace msa::engine {

struct LoadOptions {
  std::filesystem::path folder;
  model::TransformerOptions transformer;
  std::unique_ptr<kernels::Gpu> gpu;  // null: computes on the CPU
  bool can_do_without = false;        // a GPU that cannot take the model is left alone
  kernels::WeightType step_type = kernels::WeightType::kBFloat16;  // decoding on a GPU reads these
};

/// Immutable after load; may be used from several threads.
class LoadedModel {
 public:
  /// Throws Error with the file's name if a part is missing or damaged, or if tokenizer and weights
  /// disagree; Error(kDevice) or Error(kLimit) if the GPU cannot take the model.
  static std::unique_ptr<LoadedModel> load(FileSystem& files, LoadOptions options);
  ~LoadedModel();

  const model::Transformer& transformer() const { return *transformer_; }
  const model::ModelConfig& config() const;
  int64_t num_parameters() const;
  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  const text::PromptLayout& layout() const { return *layout_; }
  const model::PromptHead& prompt_head() const { return *prompt_head_; }

  /// Documents on their way into a memory; see Transformer::encode_documents.
  memory::EncodedDocuments encode_documents(std::span<const std::vector<int32_t>> documents) const;

  /// Tokens that one call of encode_documents should have.
  int64_t encode_pass_tokens() const;

  /// A question's way through the model: behind the prompt head, or, without memory, from nothing.
  /// `memory` must outlive it, and be a GpuSource if the model is on a GPU.
  std::unique_ptr<model::Session> new_session(const memory::ChunkSource* memory) const;

  /// Null on the CPU.
  const kernels::Gpu* gpu() const { return gpu_.get(); }

  /// Why the GPU that was given is not used; else empty.
  const std::string& gpu_refusal() const { return gpu_refusal_; }

  /// GPU memory that a session of so many tokens takes, about; 0 on the CPU.
  int64_t session_bytes(int64_t num_tokens) const;

  /// Last part of the folder's name.
  const std::string& name() const { return name_; }
  const std::filesystem::path& folder() const { return folder_; }

  /// 32 hex digits over weights and config, and over the tokenizer: a bank belongs to both.
  const std::string& fingerprint() const { return fingerprint_; }
  const std::string& tokenizer_fingerprint() const { return tokenizer_fingerprint_; }

 private:
  LoadedModel();

  std::string name_;
  std::filesystem::path folder_;
  std::unique_ptr<model::Transformer> transformer_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::unique_ptr<text::PromptLayout> layout_;
  std::unique_ptr<const model::PromptHead> prompt_head_;
  std::unique_ptr<kernels::Gpu> gpu_;
  std::unique_ptr<model::GpuModel> gpu_model_;
  std::string gpu_refusal_;
  std::string fingerprint_;
  std::string tokenizer_fingerprint_;
};

}  // namespace msa::engine
