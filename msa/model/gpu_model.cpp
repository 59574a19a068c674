#include "msa/model/gpu_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <utility>

#include "msa/base/error.h"
#include "msa/model/gpu_session.h"
#include "msa/model/gpu_session_space.h"

namespace msa::model {
namespace {

constexpr size_t kKeptSpaces = 16;

/// Throws before anything is copied.
const Transformer& expect_known(const Transformer& transformer) {
  const ModelConfig& config = transformer.config();
  if (config.head_dim != 64 && config.head_dim != 128) {
    throw Error(ErrorCode::kDevice, "the GPU computes heads of 64 or 128 values, this model has ",
                config.head_dim);
  }
  if (config.embed_dim % 8 != 0 || config.ffn_dim % 8 != 0 || config.vocab_size % 8 != 0) {
    throw Error(ErrorCode::kDevice, "the GPU needs sizes that are multiples of 8, got ",
                config.embed_dim, ", ", config.ffn_dim, " and ", config.vocab_size);
  }
  if (config.has_memory() && !(config.msa.has_own_router && config.msa.rule.is_folded())) {
    throw Error(ErrorCode::kDevice,
                "the GPU needs routers of their own whose scores fold: the mean over heads and the "
                "largest of chunks");
  }
  if (config.msa.top_k > kernels::kMostRouted) {
    throw Error(ErrorCode::kDevice, "the GPU chooses up to ", kernels::kMostRouted,
                " documents a layer, this model wants ", config.msa.top_k);
  }
  return transformer;
}
const Transformer& expect_known(const Transformer&&) = delete;  // would not outlive the model

kernels::GpuArray<BFloat16> put_head(const kernels::Gpu& gpu, const ModelConfig& config,
                                     const PromptHead& head) {
  const c10::InferenceMode guard;
  const int64_t values = head.num_tokens * config.num_kv_heads * config.head_dim;
  std::vector<BFloat16> rows;
  for (size_t layer = 0; layer < head.key.size(); ++layer) {
    for (const at::Tensor& part : {head.key[layer], head.value[layer]}) {
      const float* from = part.data_ptr<float>();
      std::transform(from, from + values, std::back_inserter(rows), to_bfloat16);
    }
  }
  return {gpu, std::span<const BFloat16>(rows)};
}

}  // namespace

GpuModel::GpuModel(const kernels::Gpu& gpu, const Transformer& transformer, const PromptHead& head,
                   kernels::WeightType step_type)
    : gpu_(gpu),
      transformer_(expect_known(transformer)),
      weights_(gpu, transformer.config(), transformer.weights(), step_type),
      head_rows_(put_head(gpu, transformer.config(), head)) {}

GpuModel::~GpuModel() = default;

memory::EncodedDocuments GpuModel::encode_documents(
    std::span<const std::vector<int32_t>> documents) {
  const std::lock_guard lock(encoding_);
  if (encoder_ == nullptr) encoder_ = std::make_unique<GpuEncoder>(gpu_, transformer_, weights_);
  return encoder_->encode(documents);
}

std::unique_ptr<Session> GpuModel::new_session(const SessionOptions& options) {
  return std::make_unique<GpuSession>(*this, options);
}

std::unique_ptr<GpuSessionSpace> GpuModel::take_space(const SessionOptions& options) {
  {
    const std::lock_guard lock(mutex_);
    for (auto& space : spaces_) {
      if (!space->serves(options)) continue;
      std::swap(space, spaces_.back());
      auto taken = std::move(spaces_.back());
      spaces_.pop_back();
      taken->begin();
      return taken;
    }
  }
  return new_space(options, GpuSessionSpace::kFirstTokens);
}

void GpuModel::give_space(std::unique_ptr<GpuSessionSpace> space) {
  const std::lock_guard lock(mutex_);
  if (spaces_.size() == kKeptSpaces) spaces_.erase(spaces_.begin());
  spaces_.push_back(std::move(space));
}

std::unique_ptr<GpuSessionSpace> GpuModel::new_space(const SessionOptions& options,
                                                     int64_t num_tokens) {
  try {
    return std::make_unique<GpuSessionSpace>(*this, options, num_tokens);
  } catch (const Error& error) {
    const std::lock_guard lock(mutex_);
    if (error.code() != ErrorCode::kLimit || spaces_.empty()) throw;
    spaces_.clear();
  }
  return std::make_unique<GpuSessionSpace>(*this, options, num_tokens);
}

int64_t GpuModel::session_bytes(int64_t num_tokens) const {
  const ModelConfig& c = config();
  const int64_t q = c.num_heads * c.head_dim;
  const int64_t kv = c.num_kv_heads * c.head_dim;
  const int64_t pass = 6 * c.embed_dim + 4 * (kv + q) + 4 * q + 6 * c.ffn_dim;
  const int64_t kept = 4 * c.num_layers * kv + 4 * c.embed_dim + 4 * kv;
  return (pass + kept) * num_tokens * 3 / 2;  // the smaller space is there until all is copied
}

}  // namespace msa::model
