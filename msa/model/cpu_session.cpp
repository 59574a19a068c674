#include "msa/model/cpu_session.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <chrono>

#include "msa/base/error.h"
#include "msa/model/layer.h"
#include "msa/ops/attention.h"
#include "msa/ops/elementwise.h"

namespace msa::model {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// A tensor [rows, ...] with the same first `kept` rows and room for more.
at::Tensor grown(const at::Tensor& tensor, int64_t kept, int64_t rows) {
  auto sizes = tensor.sizes().vec();
  sizes[0] = rows;
  auto larger = at::empty(sizes, tensor.options());
  if (kept > 0) larger.narrow(0, 0, kept).copy_(tensor.narrow(0, 0, kept));
  return larger;
}

}  // namespace

CpuSession::CpuSession(const Transformer& transformer, const SessionOptions& options)
    : transformer_(transformer),
      options_(options),
      step_(transformer.config(), transformer.weights()) {
  const c10::InferenceMode guard;
  const ModelConfig& config = transformer.config();
  first_memory_layer_ = uses_memory() ? config.msa.router_layers.front() : config.num_layers;
  if (uses_memory()) {
    MSA_CHECK(options.memory->shape() == config.memory_shape(),
              "memory and model differ in layers, kv heads, head size or chunk size");
  }
  caches_.resize(config.num_layers);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) reset_cache(layer, 0, 64);
  entry_ = at::empty({0, config.embed_dim}, at::kFloat);
}

bool CpuSession::uses_memory() const {
  return options_.memory != nullptr && options_.memory->num_documents() > 0 &&
         transformer_.config().has_memory();
}

void CpuSession::reset_cache(int64_t layer, int64_t memory_rows, int64_t own_rows) {
  const ModelConfig& config = transformer_.config();
  Cache& cache = caches_[layer];
  const int64_t head_rows = options_.head == nullptr ? 0 : options_.head->num_tokens;
  cache.prefix_rows = head_rows + memory_rows;
  const int64_t rows = cache.prefix_rows + own_rows;
  if (!cache.key.defined() || cache.key.size(0) < rows) {
    cache.key = at::empty({rows, config.num_kv_heads, config.head_dim}, at::kFloat);
    cache.value = at::empty_like(cache.key);
  }
  if (head_rows > 0) {
    cache.key.narrow(0, 0, head_rows).copy_(options_.head->key[layer]);
    cache.value.narrow(0, 0, head_rows).copy_(options_.head->value[layer]);
  }
}

void CpuSession::reserve(Cache& cache, int64_t rows) {
  const int64_t held = cache.key.size(0);
  if (rows <= held) return;
  const int64_t kept = std::min(held, cache.prefix_rows + num_tokens_);
  cache.key = grown(cache.key, kept, std::max(rows, 2 * held));
  cache.value = grown(cache.value, kept, std::max(rows, 2 * held));
}

void CpuSession::append(Cache& cache, int64_t own_row, const at::Tensor& key,
                        const at::Tensor& value) {
  const int64_t row = cache.prefix_rows + own_row;
  reserve(cache, row + key.size(0));
  cache.key.narrow(0, row, key.size(0)).copy_(key);
  cache.value.narrow(0, row, key.size(0)).copy_(value);
}

at::Tensor CpuSession::positions(int64_t first, int64_t count) const {
  return at::arange(options_.first_position + first, options_.first_position + first + count,
                    at::kLong);
}

void CpuSession::route(int64_t layer, const at::Tensor& queries) {
  const auto start = Clock::now();
  const ModelConfig& config = transformer_.config();
  const memory::ChunkSource& memory = *options_.memory;
  const int64_t slot = config.router_slot(layer);
  const auto normed =
      config.msa.normalises_routing ? ops::l2_normalize(queries) : queries.contiguous();
  std::vector<float> scores(memory.num_documents());
  const auto selected = memory.route(slot,
                                     {.values = normed.data_ptr<float>(),
                                      .num_tokens = normed.size(0),
                                      .num_heads = config.num_heads,
                                      .rule = config.msa.rule},
                                     config.msa.top_k, scores);
  const auto share = 1.0F / static_cast<float>(config.msa.router_layers.size());
  for (size_t n = 0; n < scores.size(); ++n) routing_.mean_scores[n] += share * scores[n];

  std::vector<int64_t> documents;
  int64_t rows = 0;
  for (const auto& choice : selected) {
    documents.push_back(choice.document);
    rows += memory.num_chunks(choice.document);
  }
  reset_cache(layer, rows, num_tokens_ + 64);
  Cache& cache = caches_[layer];
  const int64_t first = cache.prefix_rows - rows;
  memory.fetch(slot, documents, cache.key.narrow(0, first, rows).data_ptr<float>(),
               cache.value.narrow(0, first, rows).data_ptr<float>());
  routing_.selected[slot] = selected;
  routing_.milliseconds += milliseconds_since(start);
}

/// Runs x [T, E], the tokens from `first_row` on, through a layer; returns its last `rows_out`
/// rows.
at::Tensor CpuSession::run_layer(int64_t layer, const at::Tensor& x, int64_t first_row,
                                 bool routes_anew, const std::vector<int64_t>& routing_rows,
                                 bool is_causal, int64_t rows_out) {
  const ModelConfig& config = transformer_.config();
  const LayerWeights& weights = transformer_.weights().layers[layer];
  const bool is_router = routes_anew && config.router_slot(layer) >= 0;
  const RopeAngles angles = rope_angles(config, positions(first_row, x.size(0)));
  const Projections p = project(config, weights, x, angles,
                                is_router ? Pass::kQuestion : Pass::kContinuation, is_router);
  if (is_router) {
    route(layer, p.routing_query.index_select(0, at::tensor(routing_rows, at::kLong)));
  }
  Cache& cache = caches_[layer];
  append(cache, first_row, p.k, p.v);
  const int64_t rows = cache.prefix_rows + first_row + x.size(0);
  const auto attention =
      ops::attention(p.q.narrow(0, x.size(0) - rows_out, rows_out), cache.key.narrow(0, 0, rows),
                     cache.value.narrow(0, 0, rows), is_causal);
  return finish_layer(config, weights, x.narrow(0, x.size(0) - rows_out, rows_out), attention);
}

std::span<const float> CpuSession::set_logits(const at::Tensor& x) {
  const auto logits = vocabulary_logits(transformer_.config(), transformer_.weights(),
                                        x.narrow(0, x.size(0) - 1, 1));
  const float* data = logits.data_ptr<float>();
  logits_.assign(data, data + logits.numel());
  return logits_;
}

std::span<const float> CpuSession::prefill(std::span<const int32_t> tokens,
                                           const std::vector<bool>& routes) {
  const c10::InferenceMode guard;
  const ModelConfig& config = transformer_.config();
  const auto num_new = static_cast<int64_t>(tokens.size());
  const int64_t num_held = num_tokens_;
  const int64_t num_all = num_held + num_new;
  MSA_CHECK(num_new > 0, "prefill: no tokens given");
  MSA_CHECK(static_cast<int64_t>(routes.size()) == num_all, "prefill: ", num_all,
            " tokens are held then, got routing marks for ", routes.size());
  auto x = embed(transformer_.weights(), tokens);
  for (int64_t layer = 0; layer < first_memory_layer_; ++layer) {
    const bool is_last = layer + 1 == config.num_layers;
    x = run_layer(layer, x, num_held, false, {}, true, is_last ? 1 : num_new);
  }
  if (first_memory_layer_ < config.num_layers) {
    if (entry_.size(0) < num_all) entry_ = grown(entry_, num_held, 2 * num_all);
    entry_.narrow(0, num_held, num_new).copy_(x);
    x = entry_.narrow(0, 0, num_all);
    std::vector<int64_t> routing_rows;
    for (int64_t row = 0; row < num_all; ++row) {
      if (routes[row]) routing_rows.push_back(row);
    }
    MSA_CHECK(!routing_rows.empty(), "prefill: no token routes");
    routing_ = {};
    routing_.selected.resize(config.msa.router_layers.size());
    routing_.mean_scores.resize(options_.memory->num_documents());
    num_tokens_ = 0;  // what the upper layers hold is void from here
    for (int64_t layer = first_memory_layer_; layer < config.num_layers; ++layer) {
      const bool is_last = layer + 1 == config.num_layers;
      x = run_layer(layer, x, 0, true, routing_rows, true, is_last ? 1 : num_all);
    }
  }
  num_tokens_ = num_all;
  return set_logits(x);
}

std::span<const float> CpuSession::extend(std::span<const int32_t> tokens,
                                          AnswerPromptAttention attention) {
  const c10::InferenceMode guard;
  const ModelConfig& config = transformer_.config();
  const auto num_new = static_cast<int64_t>(tokens.size());
  MSA_CHECK(num_new > 0, "extend: no tokens given");
  if (num_new == 1) return step(tokens.front());
  const bool is_causal = attention == AnswerPromptAttention::kCausal;
  auto x = embed(transformer_.weights(), tokens);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    if (layer == first_memory_layer_) {
      if (entry_.size(0) < num_tokens_ + num_new) {
        entry_ = grown(entry_, num_tokens_, 2 * (num_tokens_ + num_new));
      }
      entry_.narrow(0, num_tokens_, num_new).copy_(x);
    }
    const bool is_last = layer + 1 == config.num_layers;
    x = run_layer(layer, x, num_tokens_, false, {}, is_causal, is_last ? 1 : num_new);
  }
  num_tokens_ += num_new;
  return set_logits(x);
}

std::span<const float> CpuSession::step(int32_t token) {
  const ModelConfig& config = transformer_.config();
  std::vector<StepCache> caches;
  for (Cache& cache : caches_) {
    const int64_t row = cache.prefix_rows + num_tokens_;
    reserve(cache, row + 1);
    caches.push_back({cache.key.data_ptr<float>(), cache.value.data_ptr<float>(), row});
  }
  float* entry = nullptr;
  if (first_memory_layer_ < config.num_layers) {
    if (entry_.size(0) <= num_tokens_) entry_ = grown(entry_, num_tokens_, 2 * num_tokens_ + 2);
    entry = entry_.data_ptr<float>() + num_tokens_ * config.embed_dim;
  }
  const auto logits =
      step_.run(token, options_.first_position + num_tokens_, caches, first_memory_layer_, entry);
  ++num_tokens_;
  return logits;
}

void CpuSession::truncate(int64_t num_tokens) {
  MSA_CHECK(num_tokens >= 0 && num_tokens <= num_tokens_, "truncate: must be in [0, ", num_tokens_,
            "], got ", num_tokens);
  num_tokens_ = num_tokens;
}

at::Tensor CpuSession::all_logits(std::span<const int32_t> tokens) {
  const c10::InferenceMode guard;
  const ModelConfig& config = transformer_.config();
  MSA_CHECK(num_tokens_ == 0 && !uses_memory(), "all_logits: for a fresh session without memory");
  const auto num_new = static_cast<int64_t>(tokens.size());
  auto x = embed(transformer_.weights(), tokens);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    x = run_layer(layer, x, 0, false, {}, true, num_new);
  }
  num_tokens_ = num_new;
  return vocabulary_logits(config, transformer_.weights(), x);
}

}  // namespace msa::model
