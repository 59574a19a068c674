#pragma once
// Matrix product with a weight.

#include <ATen/core/Tensor.h>

namespace msa::ops {

/// y [T, N] = x [T, K] times weight [N, K] transposed. Both of one type, float32 or bfloat16, and
/// contiguous; y has that type. bfloat16 accumulates in float32.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight);

}  // namespace msa::ops
