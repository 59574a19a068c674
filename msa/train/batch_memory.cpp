#include "msa/train/batch_memory.h"

#include <ATen/ATen.h>

#include "msa/autograd/linear.h"
#include "msa/autograd/packed_attention.h"
#include "msa/autograd/pool_chunks.h"

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

void encode_pass(const LayerMath& math, const ModelTensors& tensors, const StepInput& input,
                 const EncodingPass& pass, at::ScalarType type, MemoryPieces& memory) {
  const model::ModelConfig& config = math.config();
  const auto of_pass = [&](const at::Tensor& all) {
    return all.slice(0, pass.first_token, pass.end_token);
  };
  const auto chunks = offsets_between(input.chunk_offsets, pass.first_chunk, pass.end_chunk);
  const auto documents =
      offsets_between(input.documents.offsets, pass.first_document, pass.end_document);
  const auto angles = math.angles(of_pass(input.documents.positions));
  const auto pooled = [&](const at::Tensor& rows) {
    return autograd::pool_chunks(rows.flatten(1), chunks);
  };

  Residual residual;
  residual.x = at::embedding(tensors.embedding, of_pass(input.documents.tokens)).to(type);
  const int64_t last = config.msa.router_layers.back();
  for (int64_t i = 0; i <= last; ++i) {
    const LayerTensors& layer = tensors.layers[static_cast<size_t>(i)];
    const Projections rows = math.project(layer, residual, angles, /*wants_q=*/i < last);
    if (const int64_t slot = config.router_slot(i); slot >= 0) {
      const auto place = static_cast<size_t>(slot);
      const auto key =
          layer.router_key.defined() ? autograd::linear(rows.normed, layer.router_key) : rows.k;
      memory.key[place].push_back(pooled(rows.k));
      memory.value[place].push_back(pooled(rows.v));
      memory.routing_key[place].push_back(math.routing_keys(pooled(key)));
    }
    if (i == last) return;  // nothing above reads its output
    residual = math.finish(
        layer, rows.x,
        autograd::packed_attention(rows.q, rows.k, rows.v, documents, documents, pass.longest,
                                   pass.longest, config.attention_scale()));
  }
}

}  // namespace

BatchMemory encode_documents(const LayerMath& math, const ModelTensors& tensors,
                             const StepInput& input, at::ScalarType type) {
  MemoryPieces pieces(math.config().msa.router_layers.size());
  for (const EncodingPass& pass : input.passes) {
    encode_pass(math, tensors, input, pass, type, pieces);
  }
  return {joined(pieces.key), joined(pieces.value), joined(pieces.routing_key)};
}

}  // namespace msa::train
