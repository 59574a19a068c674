#include "msa/engine/loaded_model.h"

#include "msa/base/error.h"

namespace msa::engine {

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
  if (model->tokenizer_->vocab_size() > config.vocab_size) {
    throw Error(ErrorCode::kMismatch, folder.string(), ": the tokenizer has ",
                model->tokenizer_->vocab_size(), " tokens, the model's vocab_size is ",
                config.vocab_size);
  }
  model->layout_ = std::make_unique<text::PromptLayout>(*model->tokenizer_, config.msa.top_k);
  model->prompt_head_ = model->transformer_->encode_head(model->layout_->prompt_head().tokens);
  model->fingerprint_ = model->transformer_->weights().fingerprint;
  model->tokenizer_fingerprint_ = model->tokenizer_->fingerprint();
  return model;
}

}  // namespace msa::engine
