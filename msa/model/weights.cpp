#include "msa/model/weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include <bit>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "msa/base/error.h"
#include "msa/model/parameter_shapes.h"
#include "msa/model/stored_weights.h"
#include "msa/model/weight_tensor.h"
#include "msa/storage/digest.h"

namespace msa::model {
namespace {

/// What of a config changes the keys and content of a memory, besides the weights.
std::string encoding_facts(const ModelConfig& config) {
  std::string text;
  const auto add = [&](const auto value) { text += std::to_string(value) + ' '; };
  for (const int64_t value :
       {config.num_layers, config.embed_dim, config.ffn_dim, config.num_heads, config.num_kv_heads,
        config.head_dim, config.vocab_size, config.msa.chunk_tokens,
        int64_t{config.msa.has_own_router}, int64_t{config.msa.normalises_routing}}) {
    add(value);
  }
  add(std::bit_cast<uint64_t>(config.rms_eps));
  add(std::bit_cast<uint64_t>(config.rope_theta));
  for (const int64_t layer : config.msa.router_layers) add(layer);
  return text;
}

/// Reads tensors by name, checks them, and remembers which were asked for.
class Reader {
 public:
  Reader(const StoredWeights& weights, const ModelConfig& config)
      : weights_(weights), config_(config) {
    digester_.add(encoding_facts(config));
  }

  /// A float32 or bfloat16 tensor, as weight_tensor gives it.
  at::Tensor read(const std::string& name, const std::vector<int64_t>& shape) {
    return add(weights_.at(name, shape), shape);
  }

  /// The same for one that nothing computes with, if it is there.
  void check(const std::string& name, const std::vector<int64_t>& shape) {
    const std::optional<storage::StoredTensor> weight = weights_.find(name, shape);
    if (weight) add(*weight, shape);
  }

  at::Tensor read_vector(const std::string& name, int64_t length) {
    return read(name, {length}).to(at::kFloat);
  }

  void refuse_unknown() const {
    for (const std::string& name : weights_.names()) {
      if (seen_.contains(name) || is_unread(config_, name)) continue;
      throw Error(ErrorCode::kInvalidFormat, weights_.files().folder().string(), ": the tensor \"",
                  name, "\" belongs to no layer of config.json");
    }
  }

  std::string fingerprint() const { return storage::to_hex(digester_.finish()); }
  int64_t num_parameters() const { return num_parameters_; }

 private:
  at::Tensor add(const storage::StoredTensor& weight, const std::vector<int64_t>& shape) {
    at::Tensor tensor = weight_tensor(weight, shape, &digester_);
    num_parameters_ += tensor.numel();
    seen_.insert(weight.name);
    return tensor;
  }

  const StoredWeights& weights_;
  const ModelConfig& config_;
  storage::Digester digester_;
  std::set<std::string> seen_;
  int64_t num_parameters_ = 0;
};

LayerWeights read_layer(Reader& reader, const ModelConfig& config, int64_t layer) {
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  const auto name = [&](const char* part) { return prefix + part + ".weight"; };
  const int64_t q_rows = config.num_heads * config.head_dim;
  const int64_t kv_rows = config.num_kv_heads * config.head_dim;
  const int64_t embed_dim = config.embed_dim;
  LayerWeights weights;
  weights.input_norm = reader.read_vector(name("input_layernorm"), embed_dim);
  weights.post_norm = reader.read_vector(name("post_attention_layernorm"), embed_dim);
  weights.q_norm = reader.read_vector(name("self_attn.q_norm"), config.head_dim);
  weights.k_norm = reader.read_vector(name("self_attn.k_norm"), config.head_dim);
  const auto q = reader.read(name("self_attn.q_proj"), {q_rows, embed_dim});
  const auto k = reader.read(name("self_attn.k_proj"), {kv_rows, embed_dim});
  const auto v = reader.read(name("self_attn.v_proj"), {kv_rows, embed_dim});
  std::vector<at::Tensor> rows{k, v, q};
  if (config.router_slot(layer) >= 0 && config.msa.has_own_router) {
    rows.insert(rows.begin(), reader.read(name("self_attn.router_k_proj.0"), {kv_rows, embed_dim}));
    rows.push_back(reader.read(name("self_attn.router_q_proj.0"), {q_rows, embed_dim}));
    weights.router_key_rows = kv_rows;
    weights.router_query_rows = q_rows;
  } else {
    // Routers that the config does not use may still be in the file.
    for (const char* part : {"self_attn.router_k_proj.0", "self_attn.router_q_proj.0"}) {
      const int64_t num_rows = part[17] == 'k' ? kv_rows : q_rows;
      reader.check(name(part), {num_rows, embed_dim});
    }
  }
  weights.input = at::cat(rows);
  weights.output = reader.read(name("self_attn.o_proj"), {embed_dim, q_rows});
  weights.gate_up = at::cat({reader.read(name("mlp.gate_proj"), {config.ffn_dim, embed_dim}),
                             reader.read(name("mlp.up_proj"), {config.ffn_dim, embed_dim})});
  weights.down = reader.read(name("mlp.down_proj"), {embed_dim, config.ffn_dim});
  return weights;
}

/// Every matrix in the type that `type_of` gives for it.
template <typename TypeOf>
LayerWeights with_matrices(const LayerWeights& weights, TypeOf type_of) {
  LayerWeights result = weights;
  for (at::Tensor LayerWeights::*matrix :
       {&LayerWeights::input, &LayerWeights::output, &LayerWeights::gate_up, &LayerWeights::down}) {
    result.*matrix = (weights.*matrix).to(type_of(weights.*matrix)).contiguous();
  }
  return result;
}

}  // namespace

Weights load_weights(FileSystem& files, const std::filesystem::path& folder,
                     const ModelConfig& config, Precision precision) {
  const StoredWeights stored_weights = StoredWeights::open(files, folder, config);
  Reader reader(stored_weights, config);
  Weights weights;
  weights.precision = precision;
  const std::vector<int64_t> vocabulary{config.vocab_size, config.embed_dim};
  weights.embedding = reader.read("model.embed_tokens.weight", vocabulary);
  weights.final_norm = reader.read_vector("model.norm.weight", config.embed_dim);
  const at::Tensor head =
      config.ties_embeddings ? weights.embedding : reader.read("lm_head.weight", vocabulary);
  const auto type = precision == Precision::kFloat32 ? at::kFloat : at::kBFloat16;
  const auto smaller = [&](const at::Tensor& stored) {
    return stored.scalar_type() == at::kBFloat16 ? at::kBFloat16 : type;
  };
  weights.head = head.to(type);
  weights.step.head = head.to(smaller(head));
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const LayerWeights stored = read_layer(reader, config, layer);
    weights.layers.push_back(with_matrices(stored, [&](const at::Tensor&) { return type; }));
    weights.step.layers.push_back(with_matrices(stored, smaller));
  }
  reader.refuse_unknown();
  weights.num_parameters = reader.num_parameters();
  weights.fingerprint = reader.fingerprint();
  return weights;
}

}  // namespace msa::model
