#include "msa/model/decode_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/attention.h"
#include "msa/kernels/elementwise.h"
#include "msa/kernels/gemv.h"
#include "msa/model/layer.h"

namespace msa::model {
namespace {

struct Slice {
  int64_t first;
  int64_t end;
};

/// A thread's share of `count`, in steps of `step`.
Slice slice_of(int64_t count, int64_t step, int64_t thread, int64_t threads) {
  const int64_t steps = (count + step - 1) / step;
  return {std::min(count, steps * thread / threads * step),
          std::min(count, steps * (thread + 1) / threads * step)};
}

kernels::GemvParams product(const at::Tensor& weight, int64_t first_row, const float* x, float* y,
                            bool adds) {
  const bool is_bf16 = weight.scalar_type() == at::kBFloat16;
  const auto* rows = static_cast<const std::byte*>(weight.data_ptr()) +
                     first_row * weight.size(1) * weight.element_size();
  return {.weight = rows,
          .type = is_bf16 ? kernels::NumberType::kBFloat16 : kernels::NumberType::kFloat32,
          .x = x,
          .y = y,
          .num_columns = weight.size(1),
          .adds = adds};
}

}  // namespace

DecodeStep::DecodeStep(const ModelConfig& config, const Weights& weights)
    : config_(config),
      weights_(weights),
      x_(config.embed_dim),
      projected_((2 * config.num_kv_heads + config.num_heads) * config.head_dim),
      query_(config.num_heads * config.head_dim),
      attended_(config.num_heads * config.head_dim),
      gate_up_(2 * config.ffn_dim),
      gated_(config.ffn_dim),
      cosine_(config.head_dim / 2),
      sine_(config.head_dim / 2),
      frequency_(config.head_dim / 2),
      logits_(config.vocab_size) {
  for (size_t i = 0; i < frequency_.size(); ++i) {
    frequency_[i] = std::pow(config.rope_theta,
                             -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
  }
}

/// Called by every thread of a parallel region at once.
void DecodeStep::run_layer(int64_t layer, const StepCache& cache, int64_t thread, int64_t threads) {
  const LayerWeights& w = weights_.step.layers[layer];
  const int64_t dim = config_.head_dim;
  const int64_t kv = config_.num_kv_heads * dim;
  const auto eps = static_cast<float>(config_.rms_eps);
  float* normed = normed_.data() + thread * config_.embed_dim;
  const auto norm = [&](const at::Tensor& weight) {
    kernels::rms_norm({.x = x_.data(),
                       .weight = weight.data_ptr<float>(),
                       .out = normed,
                       .dim = config_.embed_dim,
                       .eps = eps},
                      0, 1);
  };
  norm(w.input_norm);
  const InputRows rows = input_rows(config_, w, Pass::kContinuation);
  const Slice in = slice_of(rows.count, 4, thread, threads);
  kernels::gemv(product(w.input, rows.first, normed, projected_.data(), false), in.first, in.end);
  barrier_.wait(threads);
  const auto rotate = [&](const float* x, const at::Tensor& weight, float* out, Slice heads) {
    kernels::norm_rope({.x = x + heads.first * dim,
                        .x_stride = 0,
                        .weight = weight.data_ptr<float>(),
                        .cosine = cosine_.data(),
                        .sine = sine_.data(),
                        .out = out + heads.first * dim,
                        .num_heads = heads.end - heads.first,
                        .head_dim = dim,
                        .eps = eps},
                       0, 1);
  };
  const Slice kv_heads = slice_of(config_.num_kv_heads, 1, thread, threads);
  const Slice heads = slice_of(config_.num_heads, 1, thread, threads);
  rotate(projected_.data(), w.k_norm, cache.key + cache.row * kv, kv_heads);
  std::copy(projected_.data() + kv + kv_heads.first * dim,
            projected_.data() + kv + kv_heads.end * dim,
            cache.value + cache.row * kv + kv_heads.first * dim);
  rotate(projected_.data() + 2 * kv, w.q_norm, query_.data(), heads);
  barrier_.wait(threads);
  kernels::sparse_attention({.query = query_.data(),
                             .key = cache.key,
                             .value = cache.value,
                             .out = attended_.data(),
                             .num_keys = cache.row + 1,
                             .num_heads = config_.num_heads,
                             .num_kv_heads = config_.num_kv_heads,
                             .head_dim = dim,
                             .scale = config_.attention_scale(),
                             .scores = scores_.data()},
                            heads.first, heads.end);
  barrier_.wait(threads);
  const Slice out = slice_of(config_.embed_dim, 4, thread, threads);
  kernels::gemv(product(w.output, 0, attended_.data(), x_.data(), true), out.first, out.end);
  barrier_.wait(threads);
  norm(w.post_norm);
  const Slice ffn = slice_of(config_.ffn_dim, 4, thread, threads);
  const auto gate_up = product(w.gate_up, 0, normed, gate_up_.data(), false);
  kernels::gemv(gate_up, ffn.first, ffn.end);
  kernels::gemv(gate_up, config_.ffn_dim + ffn.first, config_.ffn_dim + ffn.end);
  kernels::gate(gate_up_.data() + ffn.first, gate_up_.data() + config_.ffn_dim + ffn.first,
                gated_.data() + ffn.first, ffn.end - ffn.first);
  barrier_.wait(threads);
  kernels::gemv(product(w.down, 0, gated_.data(), x_.data(), true), out.first, out.end);
  barrier_.wait(threads);
}

std::span<const float> DecodeStep::run(int32_t token, int64_t position,
                                       std::span<const StepCache> caches, int64_t entry_layer,
                                       float* entry) {
  const auto embedded = embed(weights_, std::span(&token, 1));
  std::copy_n(embedded.data_ptr<float>(), config_.embed_dim, x_.data());
  for (size_t i = 0; i < frequency_.size(); ++i) {
    const double angle = static_cast<double>(position) * frequency_[i];
    cosine_[i] = static_cast<float>(std::cos(angle));
    sine_[i] = static_cast<float>(std::sin(angle));
  }
  int64_t most_rows = 0;
  for (const StepCache& cache : caches) most_rows = std::max(most_rows, cache.row + 1);
  scores_.resize(std::max<size_t>(scores_.size(), most_rows * config_.num_heads));
  normed_.resize(static_cast<size_t>(num_threads()) * x_.size());
#pragma omp parallel
  {
    const int64_t thread = omp_get_thread_num();
    const int64_t threads = omp_get_num_threads();
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      if (layer == entry_layer && entry != nullptr && thread == 0) {
        std::copy(x_.begin(), x_.end(), entry);
      }
      run_layer(layer, caches[layer], thread, threads);
    }
    float* normed = normed_.data() + thread * config_.embed_dim;
    kernels::rms_norm({.x = x_.data(),
                       .weight = weights_.final_norm.data_ptr<float>(),
                       .out = normed,
                       .dim = config_.embed_dim,
                       .eps = static_cast<float>(config_.rms_eps)},
                      0, 1);
    const Slice rows = slice_of(config_.vocab_size, 4, thread, threads);
    kernels::gemv(product(weights_.step.head, 0, normed, logits_.data(), false), rows.first,
                  rows.end);
  }
  return logits_;
}

}  // namespace msa::model
