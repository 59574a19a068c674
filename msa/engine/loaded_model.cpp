#include "msa/engine/loaded_model.h"

#include <utility>

#include "msa/base/error.h"
#include "msa/model/cpu_session.h"
#include "msa/model/gpu_model.h"
#include "msa/model/transformer.h"

namespace msa::engine {

namespace {

/// Their activations fit the caches, and the products are still large.
constexpr int64_t kCpuPassTokens = 2048;
constexpr int64_t kGpuPasses = 4;      // one computes while the results of another are taken
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

LoadedModel::LoadedModel() = default;
LoadedModel::~LoadedModel() = default;

std::unique_ptr<LoadedModel> LoadedModel::load(FileSystem& files, LoadOptions options) {
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
  model->prompt_head_ = std::make_unique<const model::PromptHead>(
      model->transformer_->encode_head(model->layout_->prompt_head().tokens));
  model->fingerprint_ = model->transformer_->weights().fingerprint;
  model->tokenizer_fingerprint_ = model->tokenizer_->fingerprint();
  if (options.gpu == nullptr) return model;
  try {
    model->gpu_model_ = std::make_unique<model::GpuModel>(*options.gpu, *model->transformer_,
                                                          *model->prompt_head_, options.step_type);
    model->gpu_ = std::move(options.gpu);
  } catch (const Error& error) {
    const bool is_of_gpu = error.code() == ErrorCode::kDevice || error.code() == ErrorCode::kLimit;
    if (!options.can_do_without || !is_of_gpu) throw;
    model->gpu_refusal_ = error.what();
  }
  return model;
}

const model::ModelConfig& LoadedModel::config() const { return transformer_->config(); }

int64_t LoadedModel::num_parameters() const { return transformer_->weights().num_parameters; }

memory::EncodedDocuments LoadedModel::encode_documents(
    std::span<const std::vector<int32_t>> documents) const {
  return gpu_model_ != nullptr ? gpu_model_->encode_documents(documents)
                               : transformer_->encode_documents(documents);
}

int64_t LoadedModel::encode_pass_tokens() const {
  return gpu_model_ != nullptr ? kGpuPasses * model::GpuEncoder::kPassTokens : kCpuPassTokens;
}

int64_t LoadedModel::session_bytes(int64_t num_tokens) const {
  return gpu_model_ != nullptr ? gpu_model_->session_bytes(num_tokens) : 0;
}

std::unique_ptr<model::Session> LoadedModel::new_session(const memory::ChunkSource* memory) const {
  model::SessionOptions options;
  if (memory != nullptr) {
    options = {
        .head = prompt_head_.get(), .memory = memory, .first_position = layout_->question_start()};
  }
  if (gpu_model_ != nullptr) return gpu_model_->new_session(options);
  return std::make_unique<model::CpuSession>(*transformer_, options);
}

}  // namespace msa::engine
