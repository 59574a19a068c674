#include "msa/model/gpu_session_space.h"

#include <algorithm>
#include <cstring>

#include "msa/base/error.h"
#include "msa/model/gpu_model.h"

namespace msa::model {
namespace {

const memory::GpuSource* source_of(const SessionOptions& options) {
  if (options.memory == nullptr || options.memory->num_documents() == 0) return nullptr;
  const auto* source = dynamic_cast<const memory::GpuSource*>(options.memory);
  MSA_CHECK(source != nullptr, "a session on a GPU needs a memory on it");
  return source;
}

int64_t number_of(const memory::GpuSource* source) {
  return source == nullptr ? 0 : source->number();
}

int64_t top_k_of(const ModelConfig& config, const memory::GpuSource* source) {
  return source == nullptr ? 0 : std::min(config.msa.top_k, source->num_documents());
}

int64_t most_chunks(const memory::GpuSource& source) {
  int64_t most = 0;
  for (int64_t n = 0; n < source.num_documents(); ++n) most = std::max(most, source.num_chunks(n));
  return most;
}

int64_t route_bytes(const GpuModel& model, const memory::GpuSource* source, int64_t num_tokens,
                    int64_t top_k) {
  if (source == nullptr) return 0;
  const int64_t first_token[] = {0, num_tokens};
  kernels::RouteBatchParams params;
  source->set_routing(0, params);
  params.first_token = first_token;
  params.num_questions = 1;
  params.top_k = top_k;
  return model.gpu().library().route_batch_workspace_bytes(params);
}

}  // namespace

GpuSessionSpace::GpuSessionSpace(GpuModel& owner, const SessionOptions& session, int64_t capacity)
    : model(owner),
      options(session),
      source(source_of(session)),
      source_number(number_of(source)),
      num_tokens(capacity),
      head_rows(session.head == nullptr ? 0 : session.head->num_tokens),
      top_k(top_k_of(owner.config(), source)),
      stream(owner.gpu()),
      pass(owner.gpu(), owner.config(), owner.weights(), capacity),
      entry(owner.gpu(), capacity * owner.config().embed_dim),
      routing_rows(owner.gpu(), capacity),
      folded(owner.gpu(), capacity * owner.config().num_kv_heads * owner.config().head_dim),
      host_logits(owner.gpu(), (owner.config().vocab_size + 1) * 4),
      host_prefix(owner.gpu(), owner.config().num_layers * 4),
      token_seen(owner.gpu()),
      step(std::make_unique<GpuStep>(owner.gpu(), owner.config(), owner.weights())),
      width_(owner.config().num_kv_heads * owner.config().head_dim) {
  const ModelConfig& config = owner.config();
  const kernels::Gpu& gpu = owner.gpu();
  if (source != nullptr) {
    const auto num_slots = static_cast<int64_t>(config.msa.router_layers.size());
    selected = kernels::GpuArray<kernels::ScoredDocument>(gpu, num_slots * top_k);
    mean_scores = kernels::GpuArray<float>(gpu, source->num_documents());
    route_workspace =
        kernels::GpuArray<std::byte>(gpu, route_bytes(owner, source, capacity, top_k));
    host_selected = kernels::PinnedBuffer(gpu, selected.num_bytes());
    host_scores = kernels::PinnedBuffer(gpu, mean_scores.num_bytes());
    for (int64_t slot = 0; slot < num_slots; ++slot) {
      route_timers.push_back(std::make_unique<kernels::GpuTimer>(gpu));
    }
  }
  const int64_t memory_rows = source == nullptr ? 0 : top_k * most_chunks(*source);
  first_row_.push_back(0);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const bool has_memory = source != nullptr && config.router_slot(layer) >= 0;
    first_row_.push_back(first_row_.back() + head_rows + (has_memory ? memory_rows : 0) + capacity);
  }
  cache_ = kernels::GpuArray<BFloat16>(gpu, 2 * first_row_.back() * width_);
  places_ = kernels::GpuArray<int32_t>(gpu, 4 * config.num_layers + 4);
  begin();
  const int64_t head_values = head_rows * width_;
  for (int64_t layer = 0; layer < config.num_layers && head_rows > 0; ++layer) {
    const BFloat16* from = owner.head_rows().data() + 2 * layer * head_values;
    gpu.library().copy_async(key(layer), from, 2 * head_values, stream.get());
    gpu.library().copy_async(value(layer), from + head_values, 2 * head_values, stream.get());
  }
  stream.synchronize();
}

void GpuSessionSpace::begin() {
  auto* prefix = reinterpret_cast<int32_t*>(host_prefix.data());
  std::fill_n(prefix, model.config().num_layers, static_cast<int32_t>(head_rows));
  model.gpu().library().copy_async(places().prefix, prefix, 4 * model.config().num_layers,
                                   stream.get());
}

bool GpuSessionSpace::serves(const SessionOptions& session) const {
  const auto* wanted = source_of(session);
  return session.head == options.head && number_of(wanted) == source_number;
}

int32_t* GpuSessionSpace::next_token() const {
  return reinterpret_cast<int32_t*>(logits() + model.config().vocab_size);
}

kernels::TokenPlaces GpuSessionSpace::places() const {
  const int64_t layers = model.config().num_layers;
  int32_t* all = places_.data();
  return {.prefix = all,
          .first_row = all + layers,
          .key_first = all + 2 * layers,
          .query_first = all + 4 * layers,
          .query_last = all + 4 * layers + 2};
}

std::unique_ptr<GpuSessionSpace> GpuSessionSpace::grown(int64_t held, int64_t capacity) const {
  stream.synchronize();
  auto larger = model.new_space(options, capacity);
  const auto& library = model.gpu().library();
  const auto copy = [&](void* to, const void* from, int64_t bytes) {
    if (bytes > 0) library.copy_async(to, from, bytes, larger->stream.get());
  };
  const auto* prefix = reinterpret_cast<const int32_t*>(host_prefix.data());
  for (int64_t layer = 0; layer < model.config().num_layers; ++layer) {
    const int64_t bytes = 2 * (prefix[layer] + held) * width_;
    copy(larger->key(layer), key(layer), bytes);
    copy(larger->value(layer), value(layer), bytes);
  }
  copy(larger->entry.data(), entry.data(), 4 * held * model.config().embed_dim);
  copy(larger->places().prefix, places().prefix, 4 * model.config().num_layers);
  std::memcpy(larger->host_prefix.data(), host_prefix.data(),
              static_cast<size_t>(host_prefix.size()));
  larger->stream.synchronize();
  return larger;
}

}  // namespace msa::model
