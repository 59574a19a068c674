#pragma once
// A model folder ready to use: weights, tokenizer, prompt layout, and what a bank must match.

#include <filesystem>
#include <memory>
#include <string>

#include "msa/base/file_system.h"
#include "msa/model/config.h"
#include "msa/model/transformer.h"
#include "msa/text/prompt_layout.h"
#include "msa/text/tokenizer.h"

namespace msa::engine {

struct LoadOptions {
  std::filesystem::path folder;
  model::TransformerOptions transformer;
};

/// Immutable after load; may be used from several threads.
class LoadedModel {
 public:
  /// Throws Error with the file's name if a part is missing or damaged, or if tokenizer and weights
  /// disagree.
  static std::unique_ptr<LoadedModel> load(FileSystem& files, const LoadOptions& options);

  const model::Transformer& transformer() const { return *transformer_; }
  const model::ModelConfig& config() const { return transformer_->config(); }
  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  const text::PromptLayout& layout() const { return *layout_; }
  const model::PromptHead& prompt_head() const { return prompt_head_; }

  /// Last part of the folder's name.
  const std::string& name() const { return name_; }
  const std::filesystem::path& folder() const { return folder_; }

  /// 32 hex digits over weights and config, and over the tokenizer: a bank belongs to both.
  const std::string& fingerprint() const { return fingerprint_; }
  const std::string& tokenizer_fingerprint() const { return tokenizer_fingerprint_; }

 private:
  LoadedModel() = default;

  std::string name_;
  std::filesystem::path folder_;
  std::unique_ptr<model::Transformer> transformer_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::unique_ptr<text::PromptLayout> layout_;
  model::PromptHead prompt_head_;
  std::string fingerprint_;
  std::string tokenizer_fingerprint_;
};

}  // namespace msa::engine
