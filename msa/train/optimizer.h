#pragma once
// One step of learning: clips the gradients of all parameters and moves them by Muon and AdamW.

#include <ATen/core/Tensor.h>

#include <limits>
#include <memory>
#include <vector>

#include "msa/train/adamw.h"
#include "msa/train/config.h"
#include "msa/train/muon.h"
#include "msa/train/named_tensor.h"

namespace msa::train {

/// Nothing waits for the device. One thread at a time.
class Optimizer {
 public:
  /// Of parameters on one device, whose data it changes in place from then on.
  Optimizer(const std::vector<NamedTensor>& parameters, const OptimizerConfig& config);

  /// Moves every parameter that has a gradient; the others and their state stay. Gradients are
  /// scaled so that they are together no longer than `clip`; they may be overwritten, and stay
  /// until clear_gradients. Where the length is not finite or above `max_norm`, or `is_good` (a
  /// scalar, true or false, of the same device; undefined counts as true) is false, no parameter
  /// and no state changes by a bit. Returns {length of the gradients before, 1 if the step was
  /// taken else 0}, float32 scalars on the device.
  struct Step {
    at::Tensor gradient_norm;
    at::Tensor is_taken;
  };
  Step step(double rate, const at::Tensor& is_good = {},
            double max_norm = std::numeric_limits<double>::infinity());

  void clear_gradients();

  /// All that it remembers from step to step, by name. The tensors are its own: writing to them,
  /// values of the same shape and type, restores a state.
  std::vector<NamedTensor> state() const;

  /// Overwrites the state. Throws Error(kMismatch) naming the first tensor that is missing, too
  /// many or of another shape or type; nothing has changed then.
  void load_state(const std::vector<NamedTensor>& values);

 private:
  double clip_;
  std::vector<NamedTensor> parameters_;
  Muon muon_;
  std::vector<AdamW> adamw_;
};

}  // namespace msa::train
