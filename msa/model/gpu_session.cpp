#include "msa/model/gpu_session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "msa/base/error.h"
#include "msa/model/layer.h"

namespace msa::model {

GpuSession::GpuSession(GpuModel& model, const SessionOptions& options)
    : model_(model), options_(options), space_(model.take_space(options)) {
  const ModelConfig& config = model.config();
  first_memory_layer_ =
      space_->source != nullptr ? config.msa.router_layers.front() : config.num_layers;
  if (space_->source != nullptr) {
    MSA_CHECK(space_->source->shape() == config.memory_shape(),
              "memory and model differ in layers, kv heads, head size or chunk size");
  }
}

GpuSession::~GpuSession() {
  try {
    space_->stream.synchronize();  // behind an error there may be work that reads the memory
    model_.give_space(std::move(space_));
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): told by who uses the GPU next
  }
}

/// Uploads tokens, and the positions of all own tokens up to the last of them.
void GpuSession::upload(std::span<const int32_t> tokens) {
  std::vector<int32_t> positions;
  for (int64_t row = 0; row < num_tokens_ + static_cast<int64_t>(tokens.size()); ++row) {
    positions.push_back(static_cast<int32_t>(options_.first_position + row));
  }
  space_->pass.set_tokens(tokens, space_->stream.get());
  space_->pass.set_positions(positions, space_->stream.get());
}

void GpuSession::reserve(int64_t num_tokens) {
  if (num_tokens <= space_->num_tokens) return;
  space_ = space_->grown(num_tokens_, std::max(num_tokens, 2 * space_->num_tokens));
}

void GpuSession::place(int64_t first_layer, int64_t end_layer, const Rows& rows) {
  model_.gpu().library().place_tokens({.places = space_->places(),
                                       .first_layer = first_layer,
                                       .end_layer = end_layer,
                                       .first = rows.first,
                                       .end = rows.first + rows.count},
                                      space_->stream.get());
}

/// Chooses documents by the routing rows of the pass and brings their chunks into the layer's
/// cache.
void GpuSession::route(int64_t layer, int64_t row_stride, const Rows& rows, int64_t num_routing) {
  const ModelConfig& config = model_.config();
  const auto& library = model_.gpu().library();
  GpuSessionSpace& space = *space_;
  const kernels::CudaStream stream = space.stream.get();
  const int64_t slot = config.router_slot(layer);
  const memory::RoutingRule& rule = config.msa.rule;
  const bool is_mean = rule.query == memory::QueryReduce::kMean;
  const bool is_last = rule.query == memory::QueryReduce::kLast;
  space.route_timers[slot]->start(stream);
  library.fold_queries(
      {.joint = space.pass.joint(),
       .row_stride = row_stride,
       .first_column = (2 * config.num_kv_heads + config.num_heads) * config.head_dim,
       .row = space.routing_rows.data() + (is_last ? num_routing - 1 : 0),
       .out = space.folded.data(),
       .num_rows = is_last ? 1 : num_routing,
       .num_heads = config.num_heads,
       .num_kv_heads = config.num_kv_heads,
       .head_dim = config.head_dim,
       .factor = rule.scale / static_cast<float>(config.num_heads),
       .normalizes = config.msa.normalises_routing,
       .is_mean = is_mean},
      stream);
  const int64_t first_token[] = {0, is_mean || is_last ? 1 : num_routing};
  kernels::RouteBatchParams params;
  space.source->set_routing(slot, params);
  params.query = space.folded.data();
  params.first_token = first_token;
  params.num_questions = 1;
  params.top_k = space.top_k;
  params.selected = space.selected.data() + slot * space.top_k;
  params.score_sum = space.mean_scores.data();
  params.score_share = 1.0F / static_cast<float>(config.msa.router_layers.size());
  library.route_batch(params, space.route_workspace.data(), stream);
  space.source->gather(slot, params.selected, space.top_k,
                       {.key = space.key(layer),
                        .value = space.value(layer),
                        .first_row = space.head_rows,
                        .capacity = space.row_capacity(layer),
                        .num_rows = space.places().prefix + layer},
                       stream);
  space.route_timers[slot]->stop(stream);
  place(layer, layer + 1, rows);
}

/// x of the pass through a layer; of the last layer only its last row.
void GpuSession::run_layer(int64_t layer, const Rows& rows, int64_t num_routing) {
  const ModelConfig& config = model_.config();
  GpuSessionSpace& space = *space_;
  const kernels::CudaStream stream = space.stream.get();
  const bool routes = num_routing > 0 && config.router_slot(layer) >= 0;
  const InputRows input = input_rows(config, model_.transformer().weights().layers[layer],
                                     routes ? Pass::kQuestion : Pass::kContinuation);
  space.pass.project(layer, input, 0, rows.count, stream);
  if (routes) route(layer, input.count, rows, num_routing);
  const kernels::TokenPlaces places = space.places();
  space.pass.spread(layer, input, false, true, rows.first, rows.count, space.key(layer),
                    space.value(layer), places.first_row + layer, stream);
  const bool is_last = layer + 1 == config.num_layers;
  const int64_t skipped = is_last ? rows.count - 1 : 0;
  model_.gpu().library().packed_attention(
      {.query = space.pass.query() + skipped * config.num_heads * config.head_dim,
       .key = space.key(layer),
       .value = space.value(layer),
       .out = space.pass.attended(),
       .query_first = is_last ? places.query_last : places.query_first,
       .key_first = places.key_first + 2 * layer,
       .num_queries = rows.count - skipped,
       .num_keys = space.row_capacity(layer),
       .num_sequences = 1,
       .most_queries = rows.count - skipped,
       .num_heads = config.num_heads,
       .num_kv_heads = config.num_kv_heads,
       .head_dim = config.head_dim,
       .scale = config.attention_scale(),
       .is_causal = rows.is_causal},
      stream);
  space.pass.finish(layer, skipped, rows.count - skipped, stream);
}

/// What enters the first memory layer, for later rounds.
void GpuSession::keep_entry(const Rows& rows) {
  const int64_t embed = model_.config().embed_dim;
  model_.gpu().library().copy_async(space_->entry.data() + rows.first * embed, space_->pass.x(),
                                    4 * rows.count * embed, space_->stream.get());
}

std::span<const float> GpuSession::finish(const Rows& rows) {
  const ModelConfig& config = model_.config();
  model_.gpu().library().gemv({.weight = model_.weights().head(),
                               .x = space_->pass.x() + (rows.count - 1) * config.embed_dim,
                               .norm = model_.weights().final_norm.data(),
                               .eps = static_cast<float>(config.rms_eps),
                               .y = space_->logits(),
                               .num_rows = config.vocab_size,
                               .num_columns = config.embed_dim},
                              space_->stream.get());
  num_tokens_ = rows.first + rows.count;
  return wait_for_logits();
}

std::span<const float> GpuSession::wait_for_logits() {
  space_->stream.synchronize();
  return {space_->logits(), static_cast<size_t>(model_.config().vocab_size)};
}

void GpuSession::read_routing() {
  const ModelConfig& config = model_.config();
  GpuSessionSpace& space = *space_;
  const auto* chosen = reinterpret_cast<const kernels::ScoredDocument*>(space.host_selected.data());
  const auto* scores = reinterpret_cast<const float*>(space.host_scores.data());
  routing_ = {};
  routing_.mean_scores.assign(scores, scores + space.mean_scores.size());
  std::vector<int64_t> documents;
  for (size_t slot = 0; slot < config.msa.router_layers.size(); ++slot) {
    auto& selected = routing_.selected.emplace_back();
    for (int64_t i = 0; i < space.top_k; ++i, ++chosen) {
      if (chosen->document < 0) continue;
      selected.push_back(*chosen);
      documents.push_back(chosen->document);
    }
    routing_.milliseconds += space.route_timers[slot]->milliseconds();
  }
  std::sort(documents.begin(), documents.end());
  documents.erase(std::unique(documents.begin(), documents.end()), documents.end());
  space.source->remember(documents);
}

std::span<const float> GpuSession::prefill(std::span<const int32_t> tokens,
                                           const std::vector<bool>& routes) {
  const ModelConfig& config = model_.config();
  const auto& library = model_.gpu().library();
  const auto num_new = static_cast<int64_t>(tokens.size());
  const Rows added{.first = num_tokens_, .count = num_new};
  const Rows all{.first = 0, .count = num_tokens_ + num_new};
  MSA_CHECK(num_new > 0, "prefill: no tokens given");
  MSA_CHECK(static_cast<int64_t>(routes.size()) == all.count, "prefill: ", all.count,
            " tokens are held then, got routing marks for ", routes.size());
  std::vector<int32_t> routing_rows;
  for (int64_t row = 0; row < all.count; ++row) {
    if (routes[row]) routing_rows.push_back(static_cast<int32_t>(row));
  }
  const bool has_memory = first_memory_layer_ < config.num_layers;
  MSA_CHECK(!has_memory || !routing_rows.empty(), "prefill: no token routes");
  reserve(all.count);
  GpuSessionSpace& space = *space_;
  const kernels::CudaStream stream = space.stream.get();
  upload(tokens);
  if (has_memory) {
    library.copy_async(space.routing_rows.data(), routing_rows.data(),
                       4 * static_cast<int64_t>(routing_rows.size()), stream);
  }
  place(0, first_memory_layer_, added);
  for (int64_t layer = 0; layer < first_memory_layer_; ++layer) run_layer(layer, added, 0);
  if (!has_memory) return finish(added);

  keep_entry(added);
  library.copy_async(space.pass.x(), space.entry.data(), 4 * all.count * config.embed_dim, stream);
  library.clear(space.mean_scores.data(), space.mean_scores.num_bytes(), stream);
  routing_ = {};
  num_tokens_ = 0;  // what the upper layers hold is void from here
  place(first_memory_layer_, config.num_layers, all);
  for (int64_t layer = first_memory_layer_; layer < config.num_layers; ++layer) {
    run_layer(layer, all, static_cast<int64_t>(routing_rows.size()));
  }
  library.copy_async(space.host_selected.data(), space.selected.data(), space.selected.num_bytes(),
                     stream);
  library.copy_async(space.host_scores.data(), space.mean_scores.data(),
                     space.mean_scores.num_bytes(), stream);
  library.copy_async(space.host_prefix.data(), space.places().prefix, 4 * config.num_layers,
                     stream);
  const auto logits = finish(all);
  read_routing();
  return logits;
}

std::span<const float> GpuSession::extend(std::span<const int32_t> tokens,
                                          AnswerPromptAttention attention) {
  MSA_CHECK(!tokens.empty(), "extend: no tokens given");
  if (tokens.size() == 1) {
    queue_step(tokens.front());
    ++num_tokens_;
    return wait_for_logits();
  }
  const ModelConfig& config = model_.config();
  const Rows rows{.first = num_tokens_,
                  .count = static_cast<int64_t>(tokens.size()),
                  .is_causal = attention == AnswerPromptAttention::kCausal};
  reserve(rows.first + rows.count);
  upload(tokens);
  place(0, config.num_layers, rows);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    if (layer == first_memory_layer_) keep_entry(rows);
    run_layer(layer, rows, 0);
  }
  return finish(rows);
}

GpuStepCaches GpuSession::step_caches() const {
  GpuStepCaches caches{.key = {},
                       .value = {},
                       .places = space_->places(),
                       .entry_layer = first_memory_layer_,
                       .entry = space_->entry.data(),
                       .logits = space_->logits()};
  for (int64_t layer = 0; layer < model_.config().num_layers; ++layer) {
    caches.key.push_back(space_->key(layer));
    caches.value.push_back(space_->value(layer));
  }
  return caches;
}

/// Whether a step can follow that needs no larger space.
bool GpuSession::has_place_for_step() const {
  return num_tokens_ < space_->num_tokens &&
         options_.first_position + num_tokens_ < model_.weights().num_positions;
}

/// The step of a token behind those that are held; it is not held yet.
void GpuSession::queue_step(int32_t token) {
  const int64_t vocab_size = model_.config().vocab_size;
  MSA_CHECK(token >= 0 && token < vocab_size, "token id must be in [0, ", vocab_size, "), got ",
            token);
  MSA_CHECK(options_.first_position + num_tokens_ < model_.weights().num_positions, "position ",
            options_.first_position + num_tokens_, ": this model has ",
            model_.weights().num_positions, " on a GPU");
  reserve(num_tokens_ + 1);
  space_->step->run(step_caches(), {.token = token}, num_tokens_, options_.first_position,
                    space_->stream.get());
}

/// While a step runs, the one behind it is queued: it finds its token on the GPU. The host sees
/// that token when the step begins, and then has all of the step's time to judge it. Of a step
/// that was queued for nothing only rows behind the held ones remain.
void GpuSession::write(std::span<const float> logits, const std::function<bool(int32_t)>& accepts,
                       int64_t most_added) {
  int32_t token = most_probable(logits);
  bool is_queued = false;  // the step of `token`
  for (int64_t num_added = 1; accepts(token); ++num_added) {
    if (!is_queued) queue_step(token);
    ++num_tokens_;
    GpuSessionSpace& space = *space_;
    is_queued = num_added < most_added && has_place_for_step();
    if (is_queued) {
      space.step->run(step_caches(), {.seen = space.next_token(), .is_seen = &space.token_seen},
                      num_tokens_, options_.first_position, space.stream.get());
      space.token_seen.synchronize();
    } else {
      model_.gpu().library().copy_async(space.next_token(), space.step->next_token(),
                                        sizeof(int32_t), space.stream.get());
      space.stream.synchronize();
    }
    token = expect_probable(*space.next_token());
  }
}

void GpuSession::truncate(int64_t num_tokens) {
  MSA_CHECK(num_tokens >= 0 && num_tokens <= num_tokens_, "truncate: must be in [0, ", num_tokens_,
            "], got ", num_tokens);
  num_tokens_ = num_tokens;
}

}  // namespace msa::model
