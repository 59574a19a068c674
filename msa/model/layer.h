#pragma once
// The arithmetic of one layer on both sides of its attention.

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "msa/model/config.h"
#include "msa/model/weights.h"

namespace msa::model {

/// Which projections of the attention input a pass needs.
enum class Pass {
  kDocument,      // q, k, v and, in router layers, the routing key
  kLastDocument,  // k, v and the routing key: nothing above reads the layer's output
  kQuestion,      // q, k, v and, in router layers, the routing query
  kContinuation,  // q, k, v
};

/// Rows of the attention input's projections, float32. T tokens.
struct Projections {
  at::Tensor q;            // [T, H, D], normalised and rotated
  at::Tensor k;            // [T, G, D], normalised and rotated
  at::Tensor v;            // [T, G, D]
  at::Tensor routing_key;  // [T, G, D], as projected; q and k where the router has none of its own
  at::Tensor routing_query;  // [T, H, D], as projected
};

/// Cosines and sines of token positions, for half-split rotation.
struct RopeAngles {
  at::Tensor cosine;  // [T, D / 2] float32
  at::Tensor sine;    // [T, D / 2] float32
};

/// Angles position * theta^(-2i/D), computed in double. `positions` [T] int64.
RopeAngles rope_angles(const ModelConfig& config, const at::Tensor& positions);

/// x [T, E] float32 is the residual stream; `has_router`: the layer is a router layer.
Projections project(const ModelConfig& config, const LayerWeights& layer, const at::Tensor& x,
                    const RopeAngles& angles, Pass pass, bool has_router);

/// Output projection, residual, MLP, residual. x [T, E], attention [T, H * D]; returns the next x
/// [T, E].
at::Tensor finish_layer(const ModelConfig& config, const LayerWeights& layer, const at::Tensor& x,
                        const at::Tensor& attention);

/// Rows of the embedding [T, E] float32. Throws Error(kInvalidArgument) for an id outside [0, V).
at::Tensor embed(const Weights& weights, std::span<const int32_t> tokens);

/// Final norm and vocabulary product of rows x [T, E]; [T, V] float32.
at::Tensor vocabulary_logits(const ModelConfig& config, const Weights& weights,
                             const at::Tensor& x);

/// Where rows [rk k v q rq] of LayerWeights::input begin and end for a pass.
struct InputRows {
  int64_t first = 0;
  int64_t count = 0;
};
InputRows input_rows(const ModelConfig& config, const LayerWeights& layer, Pass pass);

}  // namespace msa::model
