#include "msa/model/gpu_encoder.h"

#include <algorithm>
#include <numeric>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/model/layer.h"

namespace msa::model {

/// Documents side by side: those of one pass.
struct GpuEncoder::Packed {
  int64_t chunks_before = 0;        // of the passes ahead
  std::vector<int32_t> tokens;      // [S]
  std::vector<int32_t> positions;   // [S]
  std::vector<int32_t> offsets{0};  // [N + 1], rows of each
  std::vector<int64_t> offsets64{0};
  std::vector<int64_t> first_chunk{0};  // [N + 1]
  int64_t most_tokens = 0;              // of one document

  int64_t num_rows() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_documents() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t num_chunks() const { return first_chunk.back(); }

  void add(const std::vector<int32_t>& document, int64_t chunk_tokens) {
    MSA_CHECK(!document.empty(), "a document must have at least one token");
    const auto length = static_cast<int64_t>(document.size());
    tokens.insert(tokens.end(), document.begin(), document.end());
    positions.resize(tokens.size());
    std::iota(positions.end() - static_cast<ptrdiff_t>(length), positions.end(), 0);
    offsets64.push_back(num_rows());
    offsets.push_back(static_cast<int32_t>(num_rows()));
    first_chunk.push_back(first_chunk.back() + (length + chunk_tokens - 1) / chunk_tokens);
    most_tokens = std::max(most_tokens, length);
  }
};

/// What a pass in flight needs beside the arrays of a layer.
struct GpuEncoder::Lane {
  explicit Lane(const kernels::Gpu& gpu) : copies(gpu), pooled_there(gpu) {}

  /// Copies `from` to the GPU, by way of pinned memory.
  template <typename Value>
  std::span<const Value> put(const std::vector<Value>& from) {
    auto* to = reinterpret_cast<Value*>(input.data() + input_used);
    std::ranges::copy(from, to);
    input_used += static_cast<int64_t>((from.size() * sizeof(Value) + 15) / 16 * 16);
    return {to, from.size()};
  }

  kernels::PinnedBuffer input;
  int64_t input_used = 0;
  kernels::GpuArray<int32_t> offsets;      // [N + 1]
  kernels::GpuArray<int64_t> offsets64;    // [N + 1], the same
  kernels::GpuArray<int64_t> first_chunk;  // [N + 1]
  kernels::GpuArray<float> pooled;         // [router layers][K, V, K^R][C, G, D]
  kernels::PinnedBuffer host_pooled;       // the same
  kernels::GpuStream copies;               // of pooled to host_pooled
  kernels::GpuEvent pooled_there;
};

GpuEncoder::GpuEncoder(const kernels::Gpu& gpu, const Transformer& transformer,
                       const GpuWeights& weights)
    : gpu_(gpu), transformer_(transformer), weights_(weights), stream_(gpu) {
  for (auto& lane : lanes_) lane = std::make_unique<Lane>(gpu);
}

GpuEncoder::~GpuEncoder() = default;

std::vector<GpuEncoder::Packed> GpuEncoder::pack(
    std::span<const std::vector<int32_t>> documents) const {
  int64_t num_tokens = 0;
  for (const auto& document : documents) num_tokens += static_cast<int64_t>(document.size());
  const int64_t num_passes = std::max<int64_t>((num_tokens + kPassTokens - 1) / kPassTokens, 1);
  std::vector<Packed> passes(1);
  int64_t num_packed = 0;
  for (const auto& document : documents) {
    // Even shares: no small pass is left over.
    if (num_packed * num_passes >= num_tokens * static_cast<int64_t>(passes.size())) {
      const int64_t chunks = passes.back().chunks_before + passes.back().num_chunks();
      passes.emplace_back().chunks_before = chunks;
    }
    passes.back().add(document, transformer_.config().msa.chunk_tokens);
    num_packed += static_cast<int64_t>(document.size());
  }
  return passes;
}

/// Room for all passes of a call; what is there and large enough stays.
void GpuEncoder::reserve(std::span<const Packed> passes) {
  const ModelConfig& config = transformer_.config();
  int64_t num_rows = 0;
  int64_t num_documents = 0;
  int64_t num_chunks = 0;
  for (const Packed& packed : passes) {
    num_rows = std::max(num_rows, packed.num_rows());
    num_documents = std::max(num_documents, packed.num_documents());
    num_chunks = std::max(num_chunks, packed.num_chunks());
  }
  const auto grow = [&](auto& array, int64_t count) {
    if (array.size() >= count) return;
    array = {};  // before the larger one
    array = std::remove_reference_t<decltype(array)>(gpu_, count + count / 4);
  };
  const int64_t width = config.num_kv_heads * config.head_dim;
  if (pass_ == nullptr || pass_->capacity() < num_rows) {
    pass_.reset();
    pass_ = std::make_unique<GpuPass>(gpu_, config, weights_,
                                      std::max(kPassTokens, num_rows + num_rows / 16));
  }
  grow(key_, pass_->capacity() * width);
  grow(value_, pass_->capacity() * width);
  for (auto& lane : lanes_) {
    grow(lane->input, 8 * num_rows + 20 * (num_documents + 1) + 5 * 16);
    grow(lane->offsets, num_documents + 1);
    grow(lane->offsets64, num_documents + 1);
    grow(lane->first_chunk, num_documents + 1);
    grow(lane->pooled,
         static_cast<int64_t>(config.msa.router_layers.size()) * 3 * num_chunks * width);
    grow(lane->host_pooled, lane->pooled.num_bytes());
    if (passes.size() == 1) break;
  }
}

/// K, V and routing keys of a router layer to the means of their chunks.
void GpuEncoder::pool(int64_t slot, int64_t row_stride, const Packed& packed, const Lane& lane) {
  const ModelConfig& config = transformer_.config();
  const int64_t width = config.num_kv_heads * config.head_dim;
  const int64_t count = packed.num_chunks() * width;
  const auto plane = [&](const BFloat16* from, int64_t stride, int64_t part) {
    return kernels::PooledPlane{.row = from,
                                .row_stride = stride,
                                .pooled = lane.pooled.data() + (slot * 3 + part) * count,
                                .normalizes = part == 2 && config.msa.normalises_routing};
  };
  // The joint rows of a document begin with the routing key.
  gpu_.library().pool_chunks(
      {.plane = {plane(key_.data(), width, 0), plane(value_.data(), width, 1),
                 plane(pass_->joint(), row_stride, 2)},
       .num_planes = 3,
       .type = kernels::NumberType::kBFloat16,
       .offsets = lane.offsets64.data(),
       .first_chunk = lane.first_chunk.data(),
       .num_documents = packed.num_documents(),
       .num_chunks = packed.num_chunks(),
       .num_kv_heads = config.num_kv_heads,
       .head_dim = config.head_dim,
       .chunk_tokens = config.msa.chunk_tokens},
      stream_.get());
}

/// The last router layer's queries, output and MLP are read by nobody.
void GpuEncoder::run_layer(int64_t layer, const Packed& packed, const Lane& lane) {
  const ModelConfig& config = transformer_.config();
  const kernels::CudaStream stream = stream_.get();
  const bool is_last = layer == config.msa.router_layers.back();
  const int64_t slot = config.router_slot(layer);
  const int64_t num_rows = packed.num_rows();
  const InputRows rows = input_rows(config, transformer_.weights().layers[layer],
                                    is_last ? Pass::kLastDocument : Pass::kDocument);
  pass_->project(layer, rows, 0, num_rows, stream);
  pass_->spread(layer, rows, true, !is_last, 0, num_rows, key_.data(), value_.data(), nullptr,
                stream);
  if (slot >= 0) pool(slot, rows.count, packed, lane);
  if (is_last) return;
  gpu_.library().packed_attention({.query = pass_->query(),
                                   .key = key_.data(),
                                   .value = value_.data(),
                                   .out = pass_->attended(),
                                   .query_first = lane.offsets.data(),
                                   .key_first = lane.offsets.data(),
                                   .num_queries = num_rows,
                                   .num_keys = num_rows,
                                   .num_sequences = packed.num_documents(),
                                   .most_queries = packed.most_tokens,
                                   .num_heads = config.num_heads,
                                   .num_kv_heads = config.num_kv_heads,
                                   .head_dim = config.head_dim,
                                   .scale = config.attention_scale(),
                                   .is_causal = true},
                                  stream);
  pass_->finish(layer, 0, num_rows, stream);
}

/// Queues a pass and the copy of its results.
void GpuEncoder::run(const Packed& packed, Lane& lane) {
  const kernels::CudaStream stream = stream_.get();
  lane.input_used = 0;
  const auto put = [&](const auto& to, const auto& from) {
    const auto pinned = lane.put(from);
    gpu_.library().copy_async(to.data(), pinned.data(), static_cast<int64_t>(pinned.size_bytes()),
                              stream);
  };
  put(lane.offsets, packed.offsets);
  put(lane.offsets64, packed.offsets64);
  put(lane.first_chunk, packed.first_chunk);
  pass_->set_tokens(lane.put(packed.tokens), stream);
  pass_->set_positions(lane.put(packed.positions), stream);
  const int64_t last_layer = transformer_.config().msa.router_layers.back();
  for (int64_t layer = 0; layer <= last_layer; ++layer) run_layer(layer, packed, lane);
  const ModelConfig& config = transformer_.config();
  const auto num_parts = static_cast<int64_t>(3 * config.msa.router_layers.size());
  lane.pooled_there.record(stream);
  lane.pooled_there.await(lane.copies.get());
  gpu_.library().copy_async(
      lane.host_pooled.data(), lane.pooled.data(),
      4 * num_parts * packed.num_chunks() * config.num_kv_heads * config.head_dim,
      lane.copies.get());
}

/// Waits for a pass and adds its results.
void GpuEncoder::collect(const Packed& packed, const Lane& lane,
                         memory::EncodedDocuments& out) const {
  const ModelConfig& config = transformer_.config();
  const int64_t width = config.num_kv_heads * config.head_dim;
  const int64_t count = packed.num_chunks() * width;
  lane.copies.synchronize();
  const auto* pooled = reinterpret_cast<const float*>(lane.host_pooled.data());
  parallel_for(static_cast<int64_t>(3 * out.key.size()), [&](int64_t part) {
    auto& rows = part % 3 == 0   ? out.key[part / 3]
                 : part % 3 == 1 ? out.value[part / 3]
                                 : out.routing_key[part / 3];
    std::copy_n(pooled + part * count, count, rows.data() + packed.chunks_before * width);
  });
}

memory::EncodedDocuments GpuEncoder::encode(std::span<const std::vector<int32_t>> documents) {
  const ModelConfig& config = transformer_.config();
  MSA_CHECK(config.has_memory(), "this model has no router layers: it cannot encode documents");
  const size_t num_slots = config.msa.router_layers.size();
  memory::EncodedDocuments out;
  out.key.resize(num_slots);
  out.value.resize(num_slots);
  out.routing_key.resize(num_slots);
  if (documents.empty()) return out;
  const std::vector<Packed> passes = pack(documents);
  reserve(passes);
  try {
    encode_passes(passes, out);
  } catch (...) {
    try {  // what is queued reads and writes the lanes
      stream_.synchronize();
      for (const auto& lane : lanes_) lane->copies.synchronize();
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the first error counts
    }
    throw;
  }
  return out;
}

void GpuEncoder::encode_passes(std::span<const Packed> passes, memory::EncodedDocuments& out) {
  const ModelConfig& config = transformer_.config();
  run(passes.front(), *lanes_.front());
  // While it computes:
  for (const Packed& packed : passes) {
    for (int64_t n = 0; n < packed.num_documents(); ++n) {
      out.num_chunks.push_back(packed.first_chunk[n + 1] - packed.first_chunk[n]);
    }
  }
  const int64_t num_chunks = passes.back().chunks_before + passes.back().num_chunks();
  for (auto* layers : {&out.key, &out.value, &out.routing_key}) {
    for (auto& rows : *layers) {
      rows.resize(static_cast<size_t>(num_chunks * config.num_kv_heads * config.head_dim));
    }
  }
  for (size_t i = 0; i < passes.size(); ++i) {
    if (i + 1 < passes.size()) run(passes[i + 1], *lanes_[(i + 1) % 2]);
    collect(passes[i], *lanes_[i % 2], out);
  }
}

}  // namespace msa::model
