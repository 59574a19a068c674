#include "msa/train/step_memory.h"

#include <c10/core/ScalarType.h>

#include <algorithm>

#include "msa/model/parameter_shapes.h"

namespace msa::train {
namespace {

constexpr int64_t kFloatBytes = 4;
constexpr int64_t kIndexBytes = 8;

/// Sizes that the operations' activations are counted in.
struct Widths {
  int64_t embed, ffn, queries, keys;  // E, F, H * D, G * D

  explicit Widths(const model::ModelConfig& config)
      : embed(config.embed_dim),
        ffn(config.ffn_dim),
        queries(config.num_heads * config.head_dim),
        keys(config.num_kv_heads * config.head_dim) {}

  /// Values that a token keeps up to its attention: the stream, its norm, joint rows, queries and
  /// what was attended. Keys and values that attention reads come apart.
  int64_t attention() const { return 2 * embed + (queries + 2 * keys) + 2 * queries; }

  /// And behind it: the stream, its norm, gate and up, their product.
  int64_t mlp() const { return 2 * embed + 3 * ffn; }

  /// Gradients of them that are there at once: of joint rows, their heads and what was attended; of
  /// gate and up and their product.
  int64_t attention_slopes() const { return 2 * (queries + 2 * keys) + queries; }
  int64_t mlp_slopes() const { return 3 * ffn; }
};

/// Rows that a layer's parts work on, and bytes.
struct Layer {
  int64_t rows = 0;        // up to the attention
  int64_t mlp_rows = 0;    // behind it
  int64_t attention = 0;   // kept by the first part, if nothing is made again
  int64_t mlp = 0;         // kept by the second
  int64_t remembered = 0;  // kept in any case
};

struct Lengths {
  int64_t documents, chunks, sequences, targets;  // tokens and rows
  int64_t document_targets;
  int64_t own_keys;     // that the sequences see of themselves and head
  int64_t chosen_keys;  // and of documents, in a router layer
  int64_t pairs;        // scored with gradients

  Lengths(const model::ModelConfig& config, const samples::Batch& batch,
          const ForwardOptions& options)
      : documents(0), chunks(0), targets(num_learned(batch.targets, options.weights)) {
    document_targets = num_learned(batch.document_targets, options.weights);
    if (batch.num_asking > 0 || document_targets > 0) documents = batch.documents.num_tokens();
    const auto head = static_cast<int64_t>(batch.head.size());
    const int64_t num_documents = batch.documents.num_sequences();
    for (int64_t d = 0; d < num_documents; ++d) {
      const auto place = static_cast<size_t>(d);
      const int64_t length = batch.documents.offsets[place + 1] - batch.documents.offsets[place];
      chunks += (length + config.msa.chunk_tokens - 1) / config.msa.chunk_tokens;
    }
    sequences = batch.sequences.num_tokens() + head;
    own_keys = sequences + batch.num_asking * head;
    const int64_t num_selected = std::min(options.routing.top_k, num_documents);
    chosen_keys = num_documents == 0 ? 0 : batch.num_asking * num_selected * chunks / num_documents;
    const int64_t num_scored = options.routing.num_negatives == 0
                                   ? num_documents
                                   : std::min(num_documents, options.routing.num_negatives + 1);
    pairs = options.weights.auxiliary > 0 ? batch.num_asking * num_scored : 0;
  }
};

Layer document_layer(const Widths& widths, const Lengths& lengths, int64_t number, bool is_last) {
  const int64_t tokens = lengths.documents;
  const int64_t attention = widths.attention() + 2 * widths.keys;
  Layer layer{.rows = tokens,
              .mlp_rows = is_last ? lengths.document_targets : tokens,
              .attention = tokens * attention * number,
              .mlp = 0,
              .remembered = 0};
  layer.mlp = layer.mlp_rows * widths.mlp() * number;
  if (is_last && lengths.document_targets > 0) {
    layer.attention += lengths.document_targets * widths.queries * number;
  } else if (is_last) {
    layer.attention = tokens * (2 * widths.embed + 4 * widths.keys) * number;
  }
  return layer;
}

Layer sequence_layer(const model::ModelConfig& config, const samples::Batch& batch,
                     const Lengths& lengths, int64_t i, int64_t number) {
  const Widths widths(config);
  const bool routes = batch.num_asking > 0 && config.router_slot(i) >= 0;
  const bool is_last = i == config.num_layers - 1;
  const int64_t seen = lengths.own_keys + (routes ? lengths.chosen_keys : 0);
  Layer layer{
      .rows = lengths.sequences,
      .mlp_rows = is_last ? lengths.targets : lengths.sequences,
      .attention = (lengths.sequences * widths.attention() + seen * 2 * widths.keys) * number,
      .mlp = 0,
      .remembered = 0};
  layer.mlp = layer.mlp_rows * widths.mlp() * number;
  if (is_last) layer.attention += lengths.targets * widths.queries * number;
  if (!routes) return layer;
  const auto queries = static_cast<int64_t>(batch.query_rows.size());
  layer.remembered = seen * kIndexBytes + lengths.pairs * (2 * kIndexBytes + 1);
  layer.attention += queries * (widths.embed + widths.queries) * number +
                     lengths.pairs * 2 * widths.keys * kFloatBytes;
  return layer;
}

void add_weights(const model::ModelConfig& config, at::ScalarType type, OptimizerMethod optimizer,
                 StepMemory& memory) {
  int64_t read = 0;  // by products, beside the weights
  for (const auto& [name, shape] : model::parameter_shapes(config)) {
    int64_t values = 1;
    for (const int64_t side : shape) values *= side;
    const std::string_view part = name;
    const auto is_one_of = [&](std::initializer_list<const char*> parts) {
      return std::any_of(parts.begin(), parts.end(), [&](const char* wanted) {
        return part.find(wanted) != std::string_view::npos;
      });
    };
    const bool is_of_layer = shape.size() == 2 && !is_one_of({"embed_tokens", "lm_head"});
    memory.weights += values * kFloatBytes;
    const bool is_momentum_alone = optimizer == OptimizerMethod::kMuon && is_of_layer;
    memory.optimizer += values * (is_momentum_alone ? 1 : 2) * kFloatBytes;
    const bool is_joined = is_one_of({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                      "mlp.gate_proj", "mlp.up_proj"});
    if (is_joined || (is_of_layer && type != at::kFloat)) {
      read += values * static_cast<int64_t>(c10::elementSize(type));
    }
  }
  memory.gradients = memory.weights;
  memory.weights += read;
}

}  // namespace

int64_t StepMemory::peak() const {
  return weights + optimizer + std::max(gradients, activations) + layer;
}

StepMemory step_memory(const model::ModelConfig& config, const samples::Batch& batch,
                       const ForwardOptions& options, OptimizerMethod optimizer) {
  StepMemory memory;
  add_weights(config, options.type, optimizer, memory);
  const Widths widths(config);
  const Lengths lengths(config, batch, options);
  const auto number = static_cast<int64_t>(c10::elementSize(options.type));
  const auto add = [&](const Layer& layer) {
    memory.activations += layer.remembered;
    // What is differentiated has gradients beside it.
    const int64_t attention_slopes = layer.rows * widths.attention_slopes() * number;
    const int64_t mlp_slopes = layer.mlp_rows * widths.mlp_slopes() * number;
    if (options.recomputes_layers) {
      memory.activations += (layer.rows + layer.mlp_rows) * widths.embed * number;
      memory.layer =
          std::max({memory.layer, layer.attention + attention_slopes, layer.mlp + mlp_slopes});
    } else {
      memory.activations += layer.attention + layer.mlp;
      memory.layer = std::max({memory.layer, attention_slopes, mlp_slopes});
    }
  };
  if (lengths.documents > 0) {
    const int64_t last =
        lengths.document_targets > 0 ? config.num_layers - 1 : config.msa.router_layers.back();
    for (int64_t i = 0; i <= last; ++i) {
      add(document_layer(widths, lengths, number, i == last));
    }
    memory.activations += static_cast<int64_t>(config.msa.router_layers.size()) * lengths.chunks *
                          4 * widths.keys * number;
  }
  for (int64_t i = 0; i < config.num_layers; ++i) {
    add(sequence_layer(config, batch, lengths, i, number));
  }
  const int64_t learned = lengths.targets + lengths.document_targets;
  if (learned > 0) {
    // The stream, its norm, and the addends that layers leave whose activations are kept. Rows of
    // documents and of sequences are joined, which copies both.
    const int64_t streams = options.recomputes_layers ? 1 : 2;
    const int64_t copies = lengths.document_targets > 0 ? 2 : 1;
    memory.activations += learned * widths.embed * number * (copies * streams + streams) +
                          config.vocab_size * widths.embed * kFloatBytes;
  }
  return memory;
}

}  // namespace msa::train
