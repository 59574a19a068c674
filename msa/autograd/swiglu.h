#pragma once
// The gate of a feed-forward layer, with gradients.

#include <ATen/core/Tensor.h>

namespace msa::autograd {

/// gate_up [T, 2 * F], gate first; result [T, F] of the same type: silu(gate) * up.
at::Tensor swiglu(const at::Tensor& gate_up);

}  // namespace msa::autograd
