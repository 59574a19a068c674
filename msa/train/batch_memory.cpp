#include "msa/train/batch_memory.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>

#include "msa/autograd/gather_rows.h"
#include "msa/autograd/linear.h"
#include "msa/autograd/packed_attention.h"
#include "msa/autograd/pool_chunks.h"
#include "msa/train/checkpointed_layer.h"

namespace msa::train {
namespace {

/// Pieces by router layer and pass.
using Pieces = std::vector<std::vector<at::Tensor>>;

struct MemoryPieces {
  explicit MemoryPieces(size_t num_slots)
      : key(num_slots), value(num_slots), routing_key(num_slots) {}

  Pieces key;
  Pieces value;
  Pieces routing_key;
  std::vector<Residual> learned;
};

/// offsets[first .. end], counted from their first.
at::Tensor offsets_between(const at::Tensor& offsets, int64_t first, int64_t end) {
  const auto some = offsets.slice(0, first, end + 1);
  return some - some[0];
}

std::vector<at::Tensor> joined(const Pieces& pieces) {
  std::vector<at::Tensor> out;
  for (const auto& slot : pieces) out.push_back(slot.size() == 1 ? slot[0] : at::cat(slot));
  return out;
}

/// What the layers of a pass have in common.
struct PassOfDocuments {
  const LayerMath& math;
  Angles angles;
  at::Tensor documents;  // [documents + 1] int32, from 0
  at::Tensor chunks;     // [chunks + 1] int32, from 0
  at::Tensor targets;    // [targets] int64, of the pass's tokens; undefined if there are none
  int64_t longest;
  int64_t last;  // the last layer that somebody reads

  PassOfDocuments(const LayerMath& of, const StepInput& input, const EncodingPass& pass)
      : math(of),
        angles(math.angles(input.documents.positions.slice(0, pass.first_token, pass.end_token))),
        documents(offsets_between(input.documents.offsets, pass.first_document, pass.end_document)),
        chunks(offsets_between(input.chunk_offsets, pass.first_chunk, pass.end_chunk)),
        longest(pass.longest),
        last(math.config().msa.router_layers.back()) {
    if (pass.first_target == pass.end_target) return;
    targets =
        input.document_target_rows.slice(0, pass.first_target, pass.end_target) - pass.first_token;
    last = math.config().num_layers - 1;
  }

  bool learns() const { return targets.defined(); }

  /// The stream behind the attention of layer i, of the last one of learned rows alone; of a router
  /// layer the pooled keys, values and routing keys.
  LayerOutput attention(int64_t i, const LayerInput& in, autograd::Purpose purpose) const {
    const model::ModelConfig& config = math.config();
    const bool has_reader = i < last || learns();  // of its output
    const Projections rows = math.project(in.weights, in.residual, angles, /*wants_q=*/has_reader);
    LayerOutput out;
    if (config.router_slot(i) >= 0) {
      const auto pooled = [&](const at::Tensor& all) {
        return autograd::pool_chunks(all.flatten(1), chunks);
      };
      const auto key = in.weights.has_own_router()
                           ? autograd::linear(rows.normed, in.weights.router_key)
                           : rows.k;
      out.more = {pooled(rows.k), pooled(rows.v), math.routing_keys(pooled(key))};
    }
    if (!has_reader) return out;
    auto x = rows.x;
    auto attended = autograd::packed_attention(rows.q, rows.k, rows.v, documents, documents,
                                               longest, longest, config.attention_scale());
    if (i == last && learns()) {
      x = autograd::gather_rows(x, targets);
      attended = autograd::gather_rows(attended.flatten(1), targets);
    }
    out.residual = math.add_attention(in.weights, x, attended, purpose);
    return out;
  }
};

void encode_pass(const LayerMath& math, const ModelTensors& tensors, const StepInput& input,
                 int64_t index, const EncodingOptions& options, MemoryPieces& memory) {
  const model::ModelConfig& config = math.config();
  const EncodingPass& pass = input.passes[static_cast<size_t>(index)];
  const PassOfDocuments layers(math, input, pass);
  const auto tokens = input.documents.tokens.slice(0, pass.first_token, pass.end_token);
  Residual residual;
  residual.x = at::embedding(tensors.embedding, tokens).to(options.type);
  const auto tell = [&](std::string_view name, int64_t layer, RowsOf rows,
                        const at::Tensor& tensor) {
    if (!options.on_border) return;
    const int64_t first = rows == RowsOf::kChunks            ? pass.first_chunk
                          : rows == RowsOf::kDocumentTargets ? pass.first_target
                                                             : pass.first_token;
    options.on_border({.tensor = name, .layer = layer, .rows = rows, .first_row = first}, tensor);
  };
  tell("embedding", -1, RowsOf::kDocumentTokens, residual.x);
  for (int64_t i = 0; i <= layers.last; ++i) {
    LayerOutput out = run_layer(
        math,
        [layers, i](const LayerInput& in, autograd::Purpose purpose) {
          return layers.attention(i, in, purpose);
        },
        {.residual = residual, .weights = tensors.layers[static_cast<size_t>(i)], .more = {}},
        options.dropout.run(options.recomputes_layers, i, index + 1));
    residual = out.residual;
    const RowsOf rows =
        layers.learns() && i == layers.last ? RowsOf::kDocumentTargets : RowsOf::kDocumentTokens;
    tell("residual stream", i, rows, residual.x);
    tell("output of the mlp", i, rows, residual.addend);
    if (const int64_t slot = config.router_slot(i); slot >= 0) {
      const auto place = static_cast<size_t>(slot);
      tell("pooled keys", i, RowsOf::kChunks, out.more[0]);
      tell("pooled values", i, RowsOf::kChunks, out.more[1]);
      tell("pooled routing keys", i, RowsOf::kChunks, out.more[2]);
      memory.key[place].push_back(out.more[0]);
      memory.value[place].push_back(out.more[1]);
      memory.routing_key[place].push_back(out.more[2]);
    }
  }
  if (layers.learns()) memory.learned.push_back(residual);
}

}  // namespace

BatchMemory encode_documents(const LayerMath& math, const ModelTensors& tensors,
                             const StepInput& input, const EncodingOptions& options) {
  MemoryPieces pieces(math.config().msa.router_layers.size());
  for (size_t i = 0; i < input.passes.size(); ++i) {
    expect_no_stop(options.stop, "encoding of documents");
    encode_pass(math, tensors, input, static_cast<int64_t>(i), options, pieces);
  }
  BatchMemory memory{.key = joined(pieces.key),
                     .value = joined(pieces.value),
                     .routing_key = joined(pieces.routing_key),
                     .learned = {}};
  if (!pieces.learned.empty()) memory.learned = joined(pieces.learned);
  return memory;
}

}  // namespace msa::train
