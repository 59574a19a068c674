#pragma once
// What spoiled a step: the first thing on its way that is not as it should be.

#include <span>
#include <string>
#include <vector>

#include "msa/train/activation_watch.h"
#include "msa/train/named_tensor.h"

namespace msa::train {

struct StepFault {
  std::string what;                  // "the gradient is not finite"; empty: nothing was found
  std::vector<std::string> tensors;  // names, where it began first
  std::vector<std::string> samples;  // documents and sequences; empty: not known
};

/// Scalar on the device: true if all values of all tensors, one or more of one type, are finite,
/// and small enough for the sum of their squares to be. One pass over each.
at::Tensor all_finite(std::span<const NamedTensor> tensors);

/// Looks at a step that was not taken in the order in which it is made: weights, what the optimizer
/// remembers, activations, gradients. Waits for the device.
StepFault find_fault(std::span<const NamedTensor> parameters, std::span<const NamedTensor> state,
                     const BadActivation& activation);

/// The parameter whose gradient is the longest; empty if none has one. Waits for the device.
std::string longest_gradient(std::span<const NamedTensor> parameters);

}  // namespace msa::train
