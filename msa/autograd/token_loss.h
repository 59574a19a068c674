#pragma once
// Cross entropy of next tokens, with gradients, without a row of the vocabulary for every token.

#include <ATen/core/Tensor.h>

namespace msa::autograd {

struct TokenLoss {
  at::Tensor loss;  // scalar, float32 or float64: sum of weights[i] * each[i]; differentiable
  at::Tensor each;  // [n] float32: cross entropy of every token; no gradient
};

/// hidden [n, E]; head_weight [V, E] of any type; targets int64 [n] in [0, V), which is checked on
/// the CPU; weights float32 [n]. Logits are linear(hidden, head_weight), in hidden's type; all that
/// follows them is float32 or more. Rows are done in blocks, so that logits take a bounded room.
/// Gradients are made in the same pass: the backward pass only scales them, and until then
/// head_weight's [V, E], in its own type, is held.
TokenLoss token_loss(const at::Tensor& hidden, const at::Tensor& head_weight,
                     const at::Tensor& targets, const at::Tensor& weights);

}  // namespace msa::autograd
