#include "msa/model/transformer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "msa/base/error.h"
#include "msa/model/layer.h"
#include "msa/ops/attention.h"
#include "msa/ops/pool_chunks.h"

namespace msa::model {
namespace {

/// Documents side by side: their tokens, positions and borders.
struct Packed {
  std::vector<int32_t> tokens;  // [S]
  at::Tensor positions;         // [S] int64
  at::Tensor
      offsets;  // [documents + 1] int64: rows of document n are offsets[n] .. offsets[n+1] - 1
};

Packed pack(std::span<const std::vector<int32_t>> documents) {
  Packed packed;
  std::vector<int64_t> offsets{0};
  for (const auto& document : documents) {
    MSA_CHECK(!document.empty(), "a document must have at least one token");
    packed.tokens.insert(packed.tokens.end(), document.begin(), document.end());
    offsets.push_back(static_cast<int64_t>(packed.tokens.size()));
  }
  packed.offsets = at::tensor(offsets, at::kLong);
  packed.positions = at::empty({offsets.back()}, at::kLong);
  int64_t* position = packed.positions.data_ptr<int64_t>();
  for (const auto& document : documents) {
    std::iota(position, position + document.size(), int64_t{0});
    position += document.size();
  }
  return packed;
}

std::vector<float> to_vector(const at::Tensor& tensor) {
  const auto flat = tensor.contiguous();
  const float* data = flat.data_ptr<float>();
  return {data, data + flat.numel()};
}

}  // namespace

Transformer::Transformer(ModelConfig config, Weights weights)
    : config_(std::move(config)), weights_(std::move(weights)) {}

std::unique_ptr<Transformer> Transformer::load(FileSystem& files,
                                               const std::filesystem::path& folder,
                                               const TransformerOptions& options) {
  const c10::InferenceMode guard;
  ModelConfig config = load_config(files, folder, options.config);
  Weights weights = load_weights(files, folder, config, options.precision);
  return std::unique_ptr<Transformer>(new Transformer(std::move(config), std::move(weights)));
}

memory::EncodedDocuments Transformer::encode_documents(
    std::span<const std::vector<int32_t>> documents) const {
  MSA_CHECK(config_.has_memory(), "this model has no router layers: it cannot encode documents");
  const c10::InferenceMode guard;
  memory::EncodedDocuments out;
  const int64_t num_slots = static_cast<int64_t>(config_.msa.router_layers.size());
  out.key.resize(num_slots);
  out.value.resize(num_slots);
  out.routing_key.resize(num_slots);
  const int64_t chunk_tokens = config_.msa.chunk_tokens;
  for (const auto& document : documents) {
    const auto length = static_cast<int64_t>(document.size());
    out.num_chunks.push_back((length + chunk_tokens - 1) / chunk_tokens);
  }
  if (documents.empty()) return out;

  const Packed packed = pack(documents);
  const RopeAngles angles = rope_angles(config_, packed.positions);
  auto x = embed(weights_, packed.tokens);
  const int64_t last_layer = config_.msa.router_layers.back();
  for (int64_t layer = 0; layer <= last_layer; ++layer) {
    const int64_t slot = config_.router_slot(layer);
    const Pass pass = layer == last_layer ? Pass::kLastDocument : Pass::kDocument;
    const LayerWeights& weights = weights_.layers[layer];
    const Projections p = project(config_, weights, x, angles, pass, slot >= 0);
    if (slot >= 0) {
      out.key[slot] = to_vector(ops::pool_chunks(p.k, packed.offsets, chunk_tokens, false));
      out.value[slot] = to_vector(ops::pool_chunks(p.v, packed.offsets, chunk_tokens, false));
      out.routing_key[slot] = to_vector(ops::pool_chunks(
          p.routing_key, packed.offsets, chunk_tokens, config_.msa.normalises_routing));
    }
    if (layer < last_layer) {
      x = finish_layer(config_, weights, x, ops::packed_attention(p.q, p.k, p.v, packed.offsets));
    }
  }
  return out;
}

PromptHead Transformer::encode_head(std::span<const int32_t> tokens) const {
  const c10::InferenceMode guard;
  PromptHead head;
  head.num_tokens = static_cast<int64_t>(tokens.size());
  const RopeAngles angles = rope_angles(config_, at::arange(head.num_tokens, at::kLong));
  auto x = embed(weights_, tokens);
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    const LayerWeights& weights = weights_.layers[layer];
    const Projections p = project(config_, weights, x, angles, Pass::kContinuation, false);
    head.key.push_back(p.k);
    head.value.push_back(p.v);
    x = finish_layer(config_, weights, x, ops::attention(p.q, p.k, p.v, /*is_causal=*/true));
  }
  return head;
}

}  // namespace msa::model
