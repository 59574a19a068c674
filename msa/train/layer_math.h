#pragma once
// The arithmetic of a layer with gradients, the same for documents and for sequences.

#include <ATen/core/Tensor.h>

#include <vector>

#include "msa/autograd/purpose.h"
#include "msa/model/config.h"
#include "msa/train/model_tensors.h"

namespace msa::train {

/// Cosines and sines of token positions.
struct Angles {
  at::Tensor cosine;  // [T, D / 2] float32
  at::Tensor sine;
};

/// The residual stream between two layers: its last addition is left to the norm behind it.
struct Residual {
  at::Tensor x;       // [T, E]
  at::Tensor addend;  // [T, E]; undefined: nothing is to be added
};

/// Rows of several streams as one; all of them have an addend, or none has.
Residual joined(const std::vector<Residual>& parts);

/// What attention reads of T tokens, in the type of the activations.
struct Projections {
  at::Tensor x;       // [T, E], the residual stream
  at::Tensor normed;  // [T, E], the attention's input
  at::Tensor q;       // [T, H, D], normalised and rotated
  at::Tensor k;       // [T, G, D], normalised and rotated
  at::Tensor v;       // [T, G, D]
};

/// Immutable. Formulas as in model/layer.h, on any device and in any floating type.
class LayerMath {
 public:
  /// Makes the angles of all positions below max_positions.
  LayerMath(const model::ModelConfig& config, int64_t max_positions, at::Device device);

  const model::ModelConfig& config() const { return config_; }

  /// positions [T] int64, on the device.
  Angles angles(const at::Tensor& positions) const;

  Projections project(const LayerTensors& layer, const Residual& residual, const Angles& angles,
                      bool wants_q = true) const;

  /// The stream behind attention: x [T, E] of Projections, and the output projection of attention
  /// [T, H, D], which is left out if only gradients are wanted.
  Residual add_attention(const LayerTensors& layer, const at::Tensor& x,
                         const at::Tensor& attention, autograd::Purpose purpose) const;

  /// The stream behind the MLP, whose last product is left out if only gradients are wanted.
  Residual add_mlp(const LayerTensors& layer, const Residual& residual,
                   autograd::Purpose purpose) const;

  /// The norm of the whole stream [T, E].
  at::Tensor norm(const Residual& residual, const at::Tensor& weight) const;

  /// Pooled routing keys [C, F], of unit length a head where the config says so.
  at::Tensor routing_keys(const at::Tensor& pooled) const;

  /// Routing queries [Q, H * D] of all heads as one vector [Q, F] with q~ . k~ = the scale times
  /// the mean score over heads (memory::fold_queries).
  at::Tensor fold_queries(const at::Tensor& queries) const;

 private:
  model::ModelConfig config_;
  at::Tensor cosine_;  // [max_positions, D / 2] float32
  at::Tensor sine_;
};

}  // namespace msa::train
