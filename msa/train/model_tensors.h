#pragma once
// The trained tensors in the places where the forward pass reads them.

#include <ATen/core/Tensor.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "msa/autograd/linear.h"
#include "msa/model/config.h"

namespace msa::train {

/// Of one layer; names behind "model.layers.N." in the comments.
struct LayerTensors {
  at::Tensor input_norm;              // [E] input_layernorm
  at::Tensor post_norm;               // [E] post_attention_layernorm
  at::Tensor q_norm;                  // [D] self_attn.q_norm
  at::Tensor k_norm;                  // [D] self_attn.k_norm
  autograd::ProductWeight attention;  // [(H + 2 * G) * D, E] self_attn.q_proj, k_proj, v_proj
  autograd::ProductWeight output;     // [E, H * D] self_attn.o_proj
  autograd::ProductWeight gate_up;    // [2 * F, E] mlp.gate_proj, up_proj
  autograd::ProductWeight down;       // [E, F] mlp.down_proj
  // Without a router of its own both are empty.
  autograd::ProductWeight router_query;  // [H * D, E] self_attn.router_q_proj.0
  autograd::ProductWeight router_key;    // [G * D, E] self_attn.router_k_proj.0

  bool has_own_router() const { return router_query.values.defined(); }
};

/// Together all of a layer's tensors, for who hands them on as a list.
constexpr std::array<at::Tensor LayerTensors::*, 4> kLayerNorms{
    &LayerTensors::input_norm, &LayerTensors::post_norm, &LayerTensors::q_norm,
    &LayerTensors::k_norm};
constexpr std::array<autograd::ProductWeight LayerTensors::*, 6> kLayerMatrices{
    &LayerTensors::attention, &LayerTensors::output,       &LayerTensors::gate_up,
    &LayerTensors::down,      &LayerTensors::router_query, &LayerTensors::router_key};

struct ModelTensors {
  at::Tensor embedding;    // [V, E]
  at::Tensor head;         // [V, E], the embedding itself where tied
  at::Tensor final_norm;   // [E]
  at::Tensor temperature;  // scalar; undefined where it is not learned
  at::Tensor bias;         // scalar `b` of BCE; undefined elsewhere
  std::vector<LayerTensors> layers;
};

/// Matrices of the layers as products of `type` read them, which activations have: call once a
/// step, behind the last change of the named tensors. `named` gives a tensor by its Hugging Face
/// name, undefined if there is none.
ModelTensors gather_tensors(const model::ModelConfig& config,
                            const std::function<at::Tensor(const std::string&)>& named,
                            at::ScalarType type);

}  // namespace msa::train
