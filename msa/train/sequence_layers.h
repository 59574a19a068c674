#pragma once
// The layers as a batch's sequences go through them: routing, attention over what it chose, MLP.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "msa/train/checkpointed_layer.h"
#include "msa/train/key_rows.h"
#include "msa/train/layer_math.h"
#include "msa/train/routing.h"
#include "msa/train/step_input.h"

namespace msa::train {

/// What a router layer chose. The first run of the layer makes it; a run that makes activations
/// again reads it.
struct RouterChoice {
  std::optional<Routing> routing;
  KeyRows seen;
};

/// Immutable; copies share tensors. `math` and `input` must outlive them.
class SequenceLayers {
 public:
  /// Places in the `more` of a router layer's input. Its output has the loss of routing alone, or
  /// nothing where it learns nothing.
  enum More : size_t { kKey, kValue, kRoutingKey, kTemperature, kBias };

  SequenceLayers(const LayerMath& math, const StepInput& input, const RoutingOptions& options,
                 bool learns_routing);

  /// The last layer that somebody reads; -1 if none.
  int64_t last() const { return last_; }

  /// Whether layer i routes; its loss counts if it is taught.
  bool routes(int64_t i) const;
  bool is_taught(int64_t i) const { return i >= math_->config().num_layers / 2; }

  /// The stream behind the attention of layer i. Of the last one only the learned rows [n, E], and
  /// nothing where no token is learned.
  LayerOutput attention(int64_t i, const LayerInput& in, autograd::Purpose purpose,
                        RouterChoice& choice) const;

 private:
  bool learns_tokens() const { return input_->target_rows.size(0) > 0; }
  at::Tensor queries(const LayerTensors& weights, const Projections& rows) const;
  at::Tensor attend(int64_t i, const LayerInput& in, const Projections& rows,
                    const RouterChoice& choice) const;

  const LayerMath* math_;
  const StepInput* input_;
  RoutingOptions options_;
  bool learns_routing_;
  int64_t last_;
  Angles angles_;
  KeyRows own_rows_;
};

}  // namespace msa::train
