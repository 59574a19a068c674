#pragma once
// The trained tensors in the places where the forward pass reads them.

#include <ATen/core/Tensor.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "msa/model/config.h"

namespace msa::train {

/// Of one layer; names behind "model.layers.N." in the comments.
struct LayerTensors {
  at::Tensor input_norm;  // [E] input_layernorm
  at::Tensor post_norm;   // [E] post_attention_layernorm
  at::Tensor q_norm;      // [D] self_attn.q_norm
  at::Tensor k_norm;      // [D] self_attn.k_norm
  at::Tensor attention;   // [(H + 2 * G) * D, E] self_attn.q_proj, k_proj, v_proj
  at::Tensor output;      // [E, H * D] self_attn.o_proj
  at::Tensor gate_up;     // [2 * F, E] mlp.gate_proj, up_proj
  at::Tensor down;        // [E, F] mlp.down_proj
  at::Tensor
      router_query;  // [H * D, E] self_attn.router_q_proj.0; undefined without a router of its own
  at::Tensor router_key;  // [G * D, E] self_attn.router_k_proj.0
};

/// All of a layer's tensors, for who hands them on as a list.
constexpr std::array<at::Tensor LayerTensors::*, 10> kLayerTensors{
    &LayerTensors::input_norm, &LayerTensors::post_norm, &LayerTensors::q_norm,
    &LayerTensors::k_norm,     &LayerTensors::attention, &LayerTensors::output,
    &LayerTensors::gate_up,    &LayerTensors::down,      &LayerTensors::router_query,
    &LayerTensors::router_key};

struct ModelTensors {
  at::Tensor embedding;    // [V, E]
  at::Tensor head;         // [V, E], the embedding itself where tied
  at::Tensor final_norm;   // [E]
  at::Tensor temperature;  // scalar; undefined where it is not learned
  at::Tensor bias;         // scalar `b` of BCE; undefined elsewhere
  std::vector<LayerTensors> layers;
};

/// Joins what is multiplied together: call once a step, so that the joined tensors' gradients reach
/// the named ones. `named` gives a tensor by its Hugging Face name, undefined if there is none.
ModelTensors gather_tensors(const model::ModelConfig& config,
                            const std::function<at::Tensor(const std::string&)>& named);

}  // namespace msa::train
