#pragma once
// Normalisation of rows, with gradients.

#include <ATen/core/Tensor.h>

namespace msa::autograd {

/// x [T, E], weight [E]; result [T, E] of x's type: x[t] / sqrt(mean of x[t]^2 + eps) * weight.
/// Statistics in float32, for float64 in float64; weight may be of another type than x and gets its
/// gradient in its own.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

struct NormedSum {
  at::Tensor sum;     // [T, E]
  at::Tensor normed;  // [T, E]
};

/// sum = x + addend, in x's type, and rms_norm of it: the rows of a residual stream are read once
/// for both, and their gradients are added on the way. An undefined addend adds nothing.
NormedSum add_rms_norm(const at::Tensor& x, const at::Tensor& addend, const at::Tensor& weight,
                       double eps);

}  // namespace msa::autograd
