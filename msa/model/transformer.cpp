#include "msa/model/transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "msa/base/error.h"
#include "msa/model/layer.h"
#include "msa/ops/attention.h"
#include "msa/ops/pool_chunks.h"

namespace msa::model {
namespace {

/// Documents side by side: their tokens, positions and borders. A large pass is filled up with a
/// document of its own to a multiple of kRowStep rows: oneDNN compiles and keeps a product for
/// every number of rows it meets.
struct Packed {
  std::vector<int32_t> tokens;  // [S + filling]
  at::Tensor positions;         // [S + filling] int64
  at::Tensor
      offsets;  // [documents + 1] int64: rows of document n are offsets[n] .. offsets[n+1] - 1
  at::Tensor filled_offsets;  // with the filling, if there is one
  int64_t num_rows = 0;       // S
};
constexpr int64_t kRowStep = 128;
constexpr int64_t kLargePass = 1024;

Packed pack(std::span<const std::vector<int32_t>> documents) {
  Packed packed;
  std::vector<int64_t> offsets{0};
  std::vector<int64_t> positions;
  const auto add = [&](const std::vector<int32_t>& document) {
    packed.tokens.insert(packed.tokens.end(), document.begin(), document.end());
    offsets.push_back(static_cast<int64_t>(packed.tokens.size()));
    positions.resize(packed.tokens.size());
    std::iota(positions.end() - static_cast<ptrdiff_t>(document.size()), positions.end(),
              int64_t{0});
  };
  for (const auto& document : documents) {
    MSA_CHECK(!document.empty(), "a document must have at least one token");
    add(document);
  }
  packed.num_rows = offsets.back();
  packed.offsets = at::tensor(offsets, at::kLong);
  const int64_t missing = (kRowStep - packed.num_rows % kRowStep) % kRowStep;
  if (packed.num_rows > kLargePass && missing > 0) {
    add(std::vector<int32_t>(static_cast<size_t>(missing)));
  }
  packed.filled_offsets = at::tensor(offsets, at::kLong);
  packed.positions = at::tensor(positions, at::kLong);
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
  return of(std::move(config), std::move(weights));
}

std::unique_ptr<Transformer> Transformer::of(ModelConfig config, Weights weights) {
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
      const auto pooled = [&](const at::Tensor& rows, bool normalises) {
        return to_vector(ops::pool_chunks(rows.narrow(0, 0, packed.num_rows), packed.offsets,
                                          chunk_tokens, normalises));
      };
      out.key[slot] = pooled(p.k, false);
      out.value[slot] = pooled(p.v, false);
      out.routing_key[slot] = pooled(p.routing_key, config_.msa.normalises_routing);
    }
    if (layer < last_layer) {
      x = finish_layer(config_, weights, x,
                       ops::packed_attention(p.q, p.k, p.v, packed.filled_offsets));
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
