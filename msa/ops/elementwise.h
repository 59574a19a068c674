#pragma once
// The arithmetic between matrix products, on tensors. Row-wise; runs on all threads.

#include <ATen/core/Tensor.h>

namespace msa::ops {

/// x [T, E] float32, weight [E] float32; result [T, E] of `type`, float32 or bfloat16.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType type);

/// RMS norm of every head and rotation. x [T, heads, D] float32 or bfloat16, rows may have any
/// stride; weight [D]; cosine and sine [T, D / 2] float32; result [T, heads, D] float32.
at::Tensor norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps,
                     const at::Tensor& cosine, const at::Tensor& sine);

/// gate_up [T, 2 * F] float32 or bfloat16; result [T, F] of the same type: silu(gate) * up.
at::Tensor swiglu(const at::Tensor& gate_up);

/// Vectors along the last axis, which is not empty, divided by their length; float32.
at::Tensor l2_normalize(const at::Tensor& x);

/// x [T, E] float32 plus y [T, E] of float32 or bfloat16; float32.
at::Tensor add(const at::Tensor& x, const at::Tensor& y);

}  // namespace msa::ops
