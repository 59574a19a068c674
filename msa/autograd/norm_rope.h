#pragma once
// Normalisation and rotation of heads, with gradients.

#include <ATen/core/Tensor.h>

namespace msa::autograd {

/// x [T, H, D], also rows of a larger tensor; weight [D]; cosine and sine [T, D / 2]; result
/// [T, H, D] of x's type. Every head is normed as by rms_norm, then its two halves (a, b) are
/// rotated by the token's angles: (a cos - b sin, b cos + a sin). Types as in rms_norm; no gradient
/// for angles.
at::Tensor norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps,
                     const at::Tensor& cosine, const at::Tensor& sine);

}  // namespace msa::autograd
