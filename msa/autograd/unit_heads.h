#pragma once
// Heads over their lengths, with gradients.

#include <ATen/core/Tensor.h>

namespace msa::autograd {

/// x [N, G, D]; result of the same type: x / max(|x|, 1e-12), head by head, lengths in float32 or
/// more. A head that is shorter than 1e-12 has no direction: it gets no gradient.
at::Tensor unit_heads(const at::Tensor& x);

}  // namespace msa::autograd
