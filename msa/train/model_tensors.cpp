#include "msa/train/model_tensors.h"

#include <ATen/core/Tensor.h>

#include <initializer_list>
#include <utility>

#include "msa/base/error.h"

namespace msa::train {

ModelTensors gather_tensors(const model::ModelConfig& config,
                            const std::function<at::Tensor(const std::string&)>& named,
                            at::ScalarType type) {
  const auto required = [&](const std::string& name) {
    at::Tensor tensor = named(name);
    MSA_CHECK(tensor.defined(), "the model has no tensor ", name);
    return tensor;
  };
  ModelTensors out;
  out.embedding = required("model.embed_tokens.weight");
  out.head = config.ties_embeddings ? out.embedding : required("lm_head.weight");
  out.final_norm = required("model.norm.weight");
  out.temperature = named("temperature");
  out.bias = named("b");
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const auto weight = [&](const char* name) { return required(layer + name + ".weight"); };
    LayerTensors& tensors = out.layers.emplace_back();
    tensors.input_norm = weight("input_layernorm");
    tensors.post_norm = weight("post_attention_layernorm");
    tensors.q_norm = weight("self_attn.q_norm");
    tensors.k_norm = weight("self_attn.k_norm");
    const auto matrix = [&](std::initializer_list<const char*> names) {
      std::vector<at::Tensor> learned;
      for (const char* name : names) learned.push_back(weight(name));
      return autograd::product_weight(std::move(learned), type);
    };
    tensors.attention = matrix({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
    tensors.output = matrix({"self_attn.o_proj"});
    tensors.gate_up = matrix({"mlp.gate_proj", "mlp.up_proj"});
    tensors.down = matrix({"mlp.down_proj"});
    if (config.router_slot(i) >= 0 && config.msa.has_own_router) {
      tensors.router_query = matrix({"self_attn.router_q_proj.0"});
      tensors.router_key = matrix({"self_attn.router_k_proj.0"});
    }
  }
  return out;
}

}  // namespace msa::train
