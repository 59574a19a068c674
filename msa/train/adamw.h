#pragma once
// AdamW over tensors that share their rate and weight decay.

#include <ATen/core/Tensor.h>

#include <vector>

#include "msa/train/named_tensor.h"

namespace msa::train {

struct AdamWOptions {
  double rate_factor = 1;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0;
};

/// m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;
/// w <- (1 - rate weight_decay) w - rate m' / (sqrt(v') + epsilon), with m' = m / (1 - beta1^t),
/// v' = v / (1 - beta2^t) and t the steps of that tensor.
class AdamW {
 public:
  AdamW(const std::vector<NamedTensor>& tensors, const AdamWOptions& options);

  /// `scale` (clipping) and `is_taken` (1 or 0) are float32 scalars on the device. A tensor without
  /// a gradient stays, and so does its state. Gradients are overwritten.
  void step(double rate, const at::Tensor& scale, const at::Tensor& is_taken);

  /// "NAME/mean", "NAME/square" and "NAME/steps".
  void list_state(std::vector<NamedTensor>& state) const;

 private:
  struct Entry {
    NamedTensor weight;
    at::Tensor mean;
    at::Tensor square;
    at::Tensor steps;  // float32 scalar
  };

  AdamWOptions options_;
  std::vector<Entry> entries_;
};

}  // namespace msa::train
