#pragma once
// Watches the activations of a step for values that are not finite, without waiting for the device.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "msa/samples/batch.h"
#include "msa/train/layer_border.h"
#include "msa/train/step_input.h"

namespace msa::train {

/// The first tensor of a step with values that are not finite.
struct BadActivation {
  std::string tensor;                // name_of its border; empty: all are finite
  std::vector<std::string> samples;  // documents or sequences whose rows hold them
};

/// Of one step. One thread at a time.
class ActivationWatch {
 public:
  /// Sums each row of a tensor: a sum is finite only if all it adds is (and, for float32 values
  /// above 1e38, if they are small enough, which no activation is that can be learned from). One
  /// pass over the tensor on its device.
  void see(const LayerBorder& border, const at::Tensor& tensor);

  /// Scalar on the device: true if all that was seen is finite. Undefined if nothing was.
  at::Tensor all_finite() const;

  /// Where it went wrong first. `batch` and `input` are those of the step. Waits for the device.
  BadActivation first_bad(const samples::Batch& batch, const StepInput& input) const;

 private:
  struct Seen {
    LayerBorder border;
    at::Tensor sums;  // [rows] float32
  };
  std::vector<Seen> seen_;
};

}  // namespace msa::train
