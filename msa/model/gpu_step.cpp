#include "msa/model/gpu_step.h"

#include <span>

#include "msa/model/layer.h"

namespace msa::model {
namespace {

// Of a layer's matrices. Where less is read between its five barriers, many kernels are as fast or
// faster: measured at 3 and 31 MB, and the other way at 101 (int8) and 202 MB. At 57 MB (int4) they
// are about equal.
constexpr int64_t kLeastFusedBytes = int64_t{48} << 20;

int64_t layer_bytes(const ModelConfig& c, kernels::WeightType type) {
  const int64_t q = c.num_heads * c.head_dim;
  const int64_t kv = c.num_kv_heads * c.head_dim;
  const auto row_bytes = [&](int64_t columns) {
    return kernels::weight_layout(type, columns).row_bytes;
  };
  return (2 * kv + q + 2 * c.ffn_dim) * row_bytes(c.embed_dim) +
         c.embed_dim * (row_bytes(q) + row_bytes(c.ffn_dim));
}

kernels::FusedStepShape shape_of(const ModelConfig& config, kernels::WeightType type) {
  return {.num_layers = config.num_layers,
          .embed_dim = config.embed_dim,
          .ffn_dim = config.ffn_dim,
          .num_heads = config.num_heads,
          .num_kv_heads = config.num_kv_heads,
          .head_dim = config.head_dim,
          .vocab_size = config.vocab_size,
          .type = type};
}

}  // namespace

GpuStep::GpuStep(const kernels::Gpu& gpu, const ModelConfig& config, const GpuWeights& weights)
    : gpu_(gpu),
      config_(config),
      weights_(weights),
      shape_(shape_of(config, weights.step_type)),
      is_fused_(layer_bytes(config, weights.step_type) >= kLeastFusedBytes &&
                gpu.library().fused_step_fits(shape_)),
      state_(gpu, 3),
      next_(gpu, 1) {
  if (is_fused_) {
    workspace_ = {gpu, gpu.library().fused_step_workspace_bytes(shape_)};
    return;
  }
  x_ = {gpu, config.embed_dim};
  joint_ = {gpu, (2 * config.num_kv_heads + config.num_heads) * config.head_dim};
  attended_ = {gpu, config.num_heads * config.head_dim};
  gated_ = {gpu, config.ffn_dim};
  largest_ = {gpu, kernels::kTokenWorkspaceBytes};
}

void GpuStep::upload_layers(const GpuStepCaches& caches, kernels::CudaStream stream) {
  std::vector<kernels::FusedStepLayer> layers;
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    const GpuLayerWeights& w = weights_.layers[layer];
    const GpuWeights::StepRows rows = weights_.step_rows(layer);
    layers.push_back({.input_norm = w.input_norm.data(),
                      .input = rows.input,
                      .q_norm = w.q_norm.data(),
                      .k_norm = w.k_norm.data(),
                      .output = rows.output,
                      .post_norm = w.post_norm.data(),
                      .gate_up = rows.gate_up,
                      .down = rows.down,
                      .key = caches.key[layer],
                      .value = caches.value[layer]});
  }
  layers_ = {gpu_, std::span<const kernels::FusedStepLayer>(layers)};
  gpu_.library().clear(workspace_.data(), workspace_.num_bytes(), stream);
}

void GpuStep::queue_fused(const GpuStepCaches& caches, kernels::CudaStream stream) {
  gpu_.library().fused_step({.shape = shape_,
                             .layers = layers_.data(),
                             .embedding = weights_.embedding.data(),
                             .final_norm = weights_.final_norm.data(),
                             .head = weights_.step_head(),
                             .cosine = weights_.cosine.data(),
                             .sine = weights_.sine.data(),
                             .token = state_.data(),
                             .position = state_.data() + 1,
                             .num_rows = caches.places.first_row,
                             .scale = config_.attention_scale(),
                             .eps = static_cast<float>(config_.rms_eps),
                             .entry_layer = caches.entry_layer,
                             .entry = caches.entry,
                             .entry_row = state_.data() + 2,
                             .logits = caches.logits,
                             .next_token = next_.data(),
                             .workspace = workspace_.data()},
                            stream);
}

void GpuStep::queue(const GpuStepCaches& caches, kernels::CudaStream stream) {
  const auto& library = gpu_.library();
  const kernels::WeightType type = weights_.step_type;
  const int64_t embed = config_.embed_dim;
  const auto eps = static_cast<float>(config_.rms_eps);
  const int64_t kv = config_.num_kv_heads * config_.head_dim;
  const int64_t q = config_.num_heads * config_.head_dim;
  library.embed_rows({.embedding = weights_.embedding.data(),
                      .type = kernels::NumberType::kBFloat16,
                      .token = state_.data(),
                      .x = x_.data(),
                      .num_tokens = 1,
                      .dim = embed},
                     stream);
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    const GpuLayerWeights& w = weights_.layers[layer];
    const GpuWeights::StepRows rows = weights_.step_rows(layer);
    if (layer == caches.entry_layer) {
      library.store_row(
          {.x = x_.data(), .rows = caches.entry, .row = state_.data() + 2, .dim = embed}, stream);
    }
    library.gemv({.weight = rows.input,
                  .type = type,
                  .x = x_.data(),
                  .norm = w.input_norm.data(),
                  .eps = eps,
                  .y = joint_.data(),
                  .num_rows = 2 * kv + q,
                  .num_columns = embed},
                 stream);
    library.step_attention({.joint = joint_.data(),
                            .q_norm = w.q_norm.data(),
                            .k_norm = w.k_norm.data(),
                            .cosine = weights_.cosine.data(),
                            .sine = weights_.sine.data(),
                            .position = state_.data() + 1,
                            .key = caches.key[layer],
                            .value = caches.value[layer],
                            .num_rows = caches.places.first_row + layer,
                            .out = attended_.data(),
                            .num_heads = config_.num_heads,
                            .num_kv_heads = config_.num_kv_heads,
                            .head_dim = config_.head_dim,
                            .scale = config_.attention_scale(),
                            .eps = eps},
                           stream);
    library.gemv({.weight = rows.output,
                  .type = type,
                  .x = attended_.data(),
                  .y = x_.data(),
                  .num_rows = embed,
                  .num_columns = q,
                  .adds = true},
                 stream);
    library.gemv({.weight = rows.gate_up,
                  .type = type,
                  .x = x_.data(),
                  .norm = w.post_norm.data(),
                  .eps = eps,
                  .y = gated_.data(),
                  .num_rows = config_.ffn_dim,
                  .num_columns = embed,
                  .is_gated = true},
                 stream);
    library.gemv({.weight = rows.down,
                  .type = type,
                  .x = gated_.data(),
                  .y = x_.data(),
                  .num_rows = embed,
                  .num_columns = config_.ffn_dim,
                  .adds = true},
                 stream);
  }
  library.gemv({.weight = weights_.step_head(),
                .type = type,
                .x = x_.data(),
                .norm = weights_.final_norm.data(),
                .eps = eps,
                .y = caches.logits,
                .num_rows = config_.vocab_size,
                .num_columns = embed,
                .token = next_.data(),
                .token_workspace = largest_.data()},
               stream);
}

void GpuStep::run(const GpuStepCaches& caches, const GpuStepToken& token, int64_t num_tokens,
                  int64_t first_position, kernels::CudaStream stream) {
  gpu_.library().begin_step({.places = caches.places,
                             .num_layers = config_.num_layers,
                             .token = token.token,
                             .next_token = token.seen != nullptr ? next_.data() : nullptr,
                             .next_token_seen = token.seen,
                             .num_tokens = num_tokens,
                             .first_position = first_position,
                             .token_out = state_.data(),
                             .position_out = state_.data() + 1,
                             .row_out = state_.data() + 2},
                            stream);
  if (token.is_seen != nullptr) token.is_seen->record(stream);
  if (graph_ == nullptr) {
    if (is_fused_) {
      upload_layers(caches, stream);
    } else {
      gpu_.library().clear(largest_.data(), largest_.num_bytes(), stream);
    }
    graph_ = std::make_unique<kernels::GpuGraph>(
        gpu_, stream, [&] { is_fused_ ? queue_fused(caches, stream) : queue(caches, stream); });
  }
  graph_->launch(stream);
}

}  // namespace msa::model
