#include "msa/model/parameter_shapes.h"

#include "msa/base/json.h"

namespace msa::model {
namespace {

constexpr double kFirstTemperature = 0.1;

std::string layer_prefix(int64_t layer) { return "model.layers." + std::to_string(layer) + "."; }

}  // namespace

std::string router_k_name(int64_t layer) {
  return layer_prefix(layer) + "self_attn.router_k_proj.0.weight";
}
std::string router_q_name(int64_t layer) {
  return layer_prefix(layer) + "self_attn.router_q_proj.0.weight";
}
std::string attention_k_name(int64_t layer) {
  return layer_prefix(layer) + "self_attn.k_proj.weight";
}

std::vector<std::pair<std::string, std::vector<int64_t>>> parameter_shapes(
    const ModelConfig& config) {
  const int64_t embed = config.embed_dim;
  const int64_t q_rows = config.num_heads * config.head_dim;
  const int64_t kv_rows = config.num_kv_heads * config.head_dim;
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
  shapes.push_back({"model.embed_tokens.weight", {config.vocab_size, embed}});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const auto add = [&](const char* part, std::vector<int64_t> shape) {
      shapes.emplace_back(layer_prefix(layer) + part + ".weight", std::move(shape));
    };
    add("input_layernorm", {embed});
    add("post_attention_layernorm", {embed});
    add("self_attn.q_proj", {q_rows, embed});
    add("self_attn.k_proj", {kv_rows, embed});
    add("self_attn.v_proj", {kv_rows, embed});
    add("self_attn.o_proj", {embed, q_rows});
    add("self_attn.q_norm", {config.head_dim});
    add("self_attn.k_norm", {config.head_dim});
    if (config.msa.has_own_router && config.router_slot(layer) >= 0) {
      add("self_attn.router_q_proj.0", {q_rows, embed});
      add("self_attn.router_k_proj.0", {kv_rows, embed});
    }
    add("mlp.gate_proj", {config.ffn_dim, embed});
    add("mlp.up_proj", {config.ffn_dim, embed});
    add("mlp.down_proj", {embed, config.ffn_dim});
  }
  shapes.push_back({"model.norm.weight", {embed}});
  if (!config.ties_embeddings) shapes.push_back({"lm_head.weight", {config.vocab_size, embed}});
  if (config.has_memory()) {
    shapes.push_back({"temperature", {}});
    const Json& msa = config.raw.at("msa_config");
    if (json_has(msa, "aux_loss_method") && msa.at("aux_loss_method") == "BCE") {
      shapes.push_back({"b", {}});
    }
  }
  return shapes;
}

bool is_router_parameter(const std::string& name) {
  return name.find("self_attn.router_") != std::string::npos || name == "temperature" ||
         name == "b";
}

bool is_unread(const ModelConfig& config, const std::string& name) {
  return name == "temperature" || name == "b" ||
         (name == "lm_head.weight" && config.ties_embeddings);
}

double first_scalar(const ModelConfig& config, const std::string& name) {
  if (name == "b") return kFirstBias;
  const Json& msa = config.raw.at("msa_config");
  if (!json_has(msa, "infonce_loss_temp")) return kFirstTemperature;
  return json_number(msa, "infonce_loss_temp", kLowestTemperature, kHighestTemperature,
                     "msa_config");
}

bool is_layer_matrix(const std::string& name, const std::vector<int64_t>& shape) {
  return shape.size() == 2 && name.starts_with("model.layers.");
}

}  // namespace msa::model
