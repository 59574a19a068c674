#include "msa/model/gpu_encoder.h"

#include <algorithm>
#include <numeric>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/model/layer.h"

namespace msa::model {

/// Documents side by side.
struct GpuEncoder::Packed {
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

GpuEncoder::GpuEncoder(const kernels::Gpu& gpu, const Transformer& transformer,
                       const GpuWeights& weights)
    : gpu_(gpu), transformer_(transformer), weights_(weights), stream_(gpu) {}

/// Room for all arrays of a call; what is there and large enough stays.
void GpuEncoder::reserve(int64_t num_rows, int64_t num_documents, int64_t num_chunks) {
  const ModelConfig& config = transformer_.config();
  const auto grow = [&](auto& array, int64_t count) {
    if (array.size() >= count) return;
    array = {};  // before the larger one
    array = std::remove_reference_t<decltype(array)>(gpu_, count + count / 4);
  };
  const int64_t width = config.num_kv_heads * config.head_dim;
  if (pass_ == nullptr || pass_->capacity() < num_rows) {
    pass_.reset();
    pass_ = std::make_unique<GpuPass>(gpu_, config, weights_, std::max(kPassTokens, num_rows));
  }
  grow(key_, pass_->capacity() * width);
  grow(value_, pass_->capacity() * width);
  grow(offsets_, num_documents + 1);
  grow(offsets64_, num_documents + 1);
  grow(first_chunk_, num_documents + 1);
  grow(pooled_, static_cast<int64_t>(config.msa.router_layers.size()) * 3 * num_chunks * width);
  if (host_pooled_.size() < pooled_.num_bytes()) {
    host_pooled_ = {};
    host_pooled_ = kernels::PinnedBuffer(gpu_, pooled_.num_bytes());
  }
}

/// K, V and routing keys of a router layer to the means of their chunks.
void GpuEncoder::pool(int64_t slot, int64_t row_stride, const Packed& packed) {
  const ModelConfig& config = transformer_.config();
  const int64_t width = config.num_kv_heads * config.head_dim;
  const int64_t count = packed.num_chunks() * width;
  const auto plane = [&](const BFloat16* from, int64_t stride, int64_t part) {
    return kernels::PooledPlane{.row = from,
                                .row_stride = stride,
                                .pooled = pooled_.data() + (slot * 3 + part) * count,
                                .normalizes = part == 2 && config.msa.normalises_routing};
  };
  // The joint rows of a document begin with the routing key.
  gpu_.library().pool_chunks(
      {.plane = {plane(key_.data(), width, 0), plane(value_.data(), width, 1),
                 plane(pass_->joint(), row_stride, 2)},
       .num_planes = 3,
       .type = kernels::NumberType::kBFloat16,
       .offsets = offsets64_.data(),
       .first_chunk = first_chunk_.data(),
       .num_documents = packed.num_documents(),
       .num_chunks = packed.num_chunks(),
       .num_kv_heads = config.num_kv_heads,
       .head_dim = config.head_dim,
       .chunk_tokens = config.msa.chunk_tokens},
      stream_.get());
}

/// The last router layer's queries, output and MLP are read by nobody.
void GpuEncoder::run_layer(int64_t layer, const Packed& packed) {
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
  if (slot >= 0) pool(slot, rows.count, packed);
  if (is_last) return;
  gpu_.library().packed_attention({.query = pass_->query(),
                                   .key = key_.data(),
                                   .value = value_.data(),
                                   .out = pass_->attended(),
                                   .query_first = offsets_.data(),
                                   .key_first = offsets_.data(),
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

void GpuEncoder::run(const Packed& packed) {
  const kernels::CudaStream stream = stream_.get();
  const auto put = [&](auto& to, const auto& from) {
    gpu_.library().copy_async(to.data(), from.data(),
                              static_cast<int64_t>(from.size() * sizeof from[0]), stream);
  };
  put(offsets_, packed.offsets);
  put(offsets64_, packed.offsets64);
  put(first_chunk_, packed.first_chunk);
  pass_->set_tokens(packed.tokens, stream);
  pass_->set_positions(packed.positions, stream);
  const int64_t last_layer = transformer_.config().msa.router_layers.back();
  for (int64_t layer = 0; layer <= last_layer; ++layer) run_layer(layer, packed);
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
  Packed packed;
  for (const auto& document : documents) packed.add(document, config.msa.chunk_tokens);
  for (int64_t n = 0; n < packed.num_documents(); ++n) {
    out.num_chunks.push_back(packed.first_chunk[n + 1] - packed.first_chunk[n]);
  }
  reserve(packed.num_rows(), packed.num_documents(), packed.num_chunks());
  run(packed);
  const int64_t count = packed.num_chunks() * config.num_kv_heads * config.head_dim;
  const auto num_parts = static_cast<int64_t>(3 * num_slots);
  gpu_.library().copy_async(host_pooled_.data(), pooled_.data(), 4 * num_parts * count,
                            stream_.get());
  stream_.synchronize();
  const auto* pooled = reinterpret_cast<const float*>(host_pooled_.data());
  parallel_for(num_parts, [&](int64_t part) {
    auto& rows = part % 3 == 0   ? out.key[part / 3]
                 : part % 3 == 1 ? out.value[part / 3]
                                 : out.routing_key[part / 3];
    rows.assign(pooled + part * count, pooled + (part + 1) * count);
  });
  return out;
}

}  // namespace msa::model
