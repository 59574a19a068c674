#pragma once
// Matrix product with a weight, with gradients.

#include <ATen/core/Tensor.h>

namespace msa::autograd {

/// y [T, N] = x [T, K] times weight [N, K] transposed, of x's type: the weight is rounded to it
/// first. The weight's gradient is summed and returned in the weight's type.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight);

/// [M, N] = a [M, K] times b [N, K] transposed, of their type. No gradients.
at::Tensor row_product(const at::Tensor& a, const at::Tensor& b);

/// [N, K] of `type` = gradient [T, N] transposed times x [T, K]. Sums are float32 or wider and not
/// rounded below `type`. No gradients.
at::Tensor weight_gradient(const at::Tensor& gradient, const at::Tensor& x, at::ScalarType type);

}  // namespace msa::autograd
