#include "msa/engine/loaded_model.h"

#include "msa/base/error.h"

namespace msa::engine {

namespace {

constexpr int64_t kMaxPadding = 1024;  // rows of an embedding that no token uses

void expect_belongs(const text::Tokenizer& tokenizer, const model::ModelConfig& config,
                    const std::string& folder) {
  const int64_t num_tokens = tokenizer.vocab_size();
  if (num_tokens > config.vocab_size || num_tokens + kMaxPadding < config.vocab_size) {
    throw Error(ErrorCode::kMismatch, folder, ": the tokenizer has ", num_tokens,
                " tokens, the model's vocab_size is ", config.vocab_size);
  }
  for (const int64_t token : config.end_tokens) {
    if (token >= num_tokens) {
      throw Error(ErrorCode::kMismatch, folder, ": the model's eos_token_id ", token,
                  " is no token of the tokenizer, which has ", num_tokens);
    }
  }
}

}  // namespace

std::unique_ptr<LoadedModel> LoadedModel::load(FileSystem& files, const LoadOptions& options) {
  const auto& folder = options.folder;
  if (!files.exists(folder / "config.json")) {
    throw Error(ErrorCode::kNotFound, folder.string(),
                " is no model folder: it has no config.json");
  }
  auto model = std::unique_ptr<LoadedModel>(new LoadedModel());
  model->folder_ = folder;
  const auto clean = std::filesystem::weakly_canonical(folder);
  model->name_ = clean.filename().string();
  model->tokenizer_ = text::Tokenizer::load(files, folder);
  model->transformer_ = model::Transformer::load(files, folder, options.transformer);
  const model::ModelConfig& config = model->config();
  expect_belongs(*model->tokenizer_, config, folder.string());
  model->layout_ = std::make_unique<text::PromptLayout>(*model->tokenizer_, config.msa.top_k);
  model->prompt_head_ = model->transformer_->encode_head(model->layout_->prompt_head().tokens);
  model->fingerprint_ = model->transformer_->weights().fingerprint;
  model->tokenizer_fingerprint_ = model->tokenizer_->fingerprint();
  return model;
}

}  // namespace msa::engine
