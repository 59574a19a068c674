#include "msa/train/step_flops.h"

#include <algorithm>

namespace msa::train {
namespace {

/// Of one token in one layer.
struct LayerCost {
  double query, key_value, output, mlp;  // products
  double pair;                           // attention to one key: score and weighted sum
  double router_query, router_key;       // of a router of its own, else 0

  explicit LayerCost(const model::ModelConfig& config) {
    const auto embed = static_cast<double>(config.embed_dim);
    const auto q = static_cast<double>(config.num_heads * config.head_dim);
    const auto kv = static_cast<double>(config.num_kv_heads * config.head_dim);
    query = 2 * embed * q;
    key_value = 4 * embed * kv;
    output = 2 * q * embed;
    mlp = 6 * embed * static_cast<double>(config.ffn_dim);
    pair = 4 * q;
    router_query = config.msa.has_own_router ? query : 0;
    router_key = config.msa.has_own_router ? key_value / 2 : 0;
  }
};

double causal_pairs(int64_t length) {
  return static_cast<double>(length) * static_cast<double>(length + 1) / 2;
}

double causal_pairs(const samples::PackedTokens& packed) {
  double pairs = 0;
  for (size_t s = 0; s + 1 < packed.offsets.size(); ++s) {
    pairs += causal_pairs(packed.offsets[s + 1] - packed.offsets[s]);
  }
  return pairs;
}

double num_chunks(const samples::PackedTokens& documents, int64_t chunk_tokens) {
  int64_t chunks = 0;
  for (size_t d = 0; d + 1 < documents.offsets.size(); ++d) {
    const int64_t length = documents.offsets[d + 1] - documents.offsets[d];
    chunks += (length + chunk_tokens - 1) / chunk_tokens;
  }
  return static_cast<double>(chunks);
}

void add_documents(const model::ModelConfig& config, const samples::Batch& batch,
                   double num_targets, StepFlops& flops) {
  const LayerCost cost(config);
  const auto tokens = static_cast<double>(batch.documents.num_tokens());
  const double layer = cost.query + cost.key_value + cost.output + cost.mlp;
  flops.routers += tokens * cost.router_key * static_cast<double>(config.msa.router_layers.size());
  if (num_targets == 0) {  // of the last router layer only keys and values are read
    const auto whole = static_cast<double>(config.msa.router_layers.back());
    flops.layers += tokens * (whole * layer + cost.key_value);
    flops.attention += whole * cost.pair * causal_pairs(batch.documents);
    return;
  }
  const auto all = static_cast<double>(config.num_layers);
  flops.layers += tokens * ((all - 1) * layer + cost.query + cost.key_value) +
                  num_targets * (cost.output + cost.mlp);
  flops.attention += all * cost.pair * causal_pairs(batch.documents);
  flops.head += num_targets * 2 * static_cast<double>(config.embed_dim * config.vocab_size);
}

void add_sequences(const model::ModelConfig& config, const samples::Batch& batch,
                   double num_targets, int64_t top_k, StepFlops& flops) {
  const LayerCost cost(config);
  const auto head = static_cast<int64_t>(batch.head.size());
  const auto tokens = static_cast<double>(batch.sequences.num_tokens() + head);
  const auto asking =  // their tokens
      static_cast<double>(batch.sequences.offsets[static_cast<size_t>(batch.num_asking)]);
  const bool routes = batch.num_asking > 0;
  // As forward goes: to the last layer if tokens are learned, else to the last that routes.
  const int64_t last = num_targets > 0 ? config.num_layers - 1
                       : routes        ? config.msa.router_layers.back()
                                       : -1;
  const double attended =
      static_cast<double>(num_targets > 0 ? last + 1 : std::max<int64_t>(0, last));
  flops.layers += tokens * static_cast<double>(last + 1) * (cost.query + cost.key_value);
  flops.layers += (cost.output + cost.mlp) *
                  (tokens * static_cast<double>(std::max<int64_t>(0, last)) + num_targets);
  flops.attention +=
      attended * cost.pair *
      (causal_pairs(batch.sequences) + causal_pairs(head) + asking * static_cast<double>(head));
  flops.head += num_targets * 2 * static_cast<double>(config.embed_dim * config.vocab_size);
  if (!routes) return;
  const auto slots = static_cast<double>(config.msa.router_layers.size());
  const auto queries = static_cast<double>(batch.query_rows.size());
  const auto documents = static_cast<double>(batch.documents.num_sequences());
  const double chunks = num_chunks(batch.documents, config.msa.chunk_tokens);
  const auto kv = static_cast<double>(config.num_kv_heads * config.head_dim);
  flops.routers += slots * queries * cost.router_query;
  flops.scan += slots * 2 * queries * chunks * kv;
  const double seen = std::min(static_cast<double>(top_k), documents) * chunks / documents;
  const double reading = num_targets > 0 ? slots : slots - 1;  // the last one may choose alone
  flops.attention += reading * cost.pair * asking * seen;
}

}  // namespace

StepFlops step_flops(const model::ModelConfig& config, const samples::Batch& batch,
                     const StepFlopsOptions& options) {
  StepFlops flops;
  const auto num_document_targets =
      static_cast<double>(num_learned(batch.document_targets, options.weights));
  if (batch.num_asking > 0 || num_document_targets > 0) {
    add_documents(config, batch, num_document_targets, flops);
  }
  add_sequences(config, batch, static_cast<double>(num_learned(batch.targets, options.weights)),
                options.top_k, flops);
  const bool routers_learn = options.weights.auxiliary > 0;
  if (options.routers_alone) {
    flops.backward = routers_learn ? flops.routers : 0;
  } else {
    flops.backward = 2 * (flops.layers + flops.attention + flops.head);
    if (routers_learn) flops.backward += 2 * flops.routers;
  }
  return flops;
}

}  // namespace msa::train
