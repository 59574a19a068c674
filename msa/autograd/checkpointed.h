#pragma once
// Activation checkpointing: a function whose intermediate values are made again for its gradients.

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "msa/autograd/purpose.h"

namespace msa::autograd {

/// A function of tensors; entries of both lists may be undefined. Made for gradients, its outputs
/// need no values, so that what nothing but these depends on can be left out.
using TensorFunction =
    std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&, Purpose purpose)>;

/// function(inputs, kValues), of which only the inputs are kept for the backward pass: that calls
/// the function once more, for kGradients, and differentiates what it makes then. Gradients reach
/// `inputs` alone, so whatever else the function reads must be without; an output that does not
/// depend on an input with gradient has none. Both calls must do the same arithmetic, as far as
/// they go: what is random or decided in the first is remembered by the function. What it borrows
/// must live until the backward pass is over. Gradients can be taken once.
std::vector<at::Tensor> checkpointed(TensorFunction function,
                                     const std::vector<at::Tensor>& inputs);

}  // namespace msa::autograd
