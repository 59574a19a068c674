#pragma once
// The arithmetic of a layer with gradients, the same for documents and for sequences.

#include <ATen/core/Tensor.h>

#include "msa/model/config.h"
#include "msa/train/model_tensors.h"

namespace msa::train {

/// Cosines and sines of token positions.
struct Angles {
  at::Tensor cosine;  // [T, D / 2] float32
  at::Tensor sine;
};

/// What attention reads of T tokens, in the type of the activations.
struct Projections {
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

  /// x [T, E] is the residual stream.
  Projections project(const LayerTensors& layer, const at::Tensor& x, const Angles& angles,
                      bool wants_q = true) const;

  /// Output projection, residual, MLP, residual; attention [T, H, D]. Returns the next x [T, E].
  at::Tensor finish(const LayerTensors& layer, const at::Tensor& x,
                    const at::Tensor& attention) const;

  at::Tensor norm(const at::Tensor& x, const at::Tensor& weight) const;

  /// Pooled routing keys [C, F], of unit length a head where the config says so.
  at::Tensor routing_keys(const at::Tensor& pooled) const;

  /// Routing queries [Q, H * D] of all heads as one vector [Q, F] with q~ . k~ = the scale times
  /// the mean score over heads (memory::fold_queries).
  at::Tensor fold_queries(const at::Tensor& queries) const;

 private:
  at::Tensor heads(const at::Tensor& rows, int64_t num_heads, const at::Tensor& weight,
                   const Angles& angles) const;

  model::ModelConfig config_;
  at::Tensor cosine_;  // [max_positions, D / 2] float32
  at::Tensor sine_;
};

}  // namespace msa::train
