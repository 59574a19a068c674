#pragma once
// Activation checkpointing: a function whose intermediate values are made again for its gradients.

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace msa::autograd {

/// A function of tensors; entries of both lists may be undefined.
using TensorFunction = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

/// function(inputs), of which only the inputs are kept for the backward pass: that calls the
/// function once more and differentiates what it makes then. Gradients reach `inputs` alone, so
/// whatever else the function reads must be without; an output that does not depend on an input
/// with gradient has none. Both calls must do the same arithmetic: what is random or decided in the
/// first is remembered by the function. What it borrows must live until the backward pass is over.
/// Gradients can be taken once.
std::vector<at::Tensor> checkpointed(TensorFunction function,
                                     const std::vector<at::Tensor>& inputs);

}  // namespace msa::autograd
