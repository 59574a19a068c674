#include "msa/autograd/linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include "msa/autograd/wide_type.h"
#include "msa/ops/linear.h"

namespace msa::autograd {
namespace {

/// Keeps the weight in its own type: rounding it again costs less than a copy a layer.
struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight) {
    context->save_for_backward({x, weight});
    return row_product(x, weight.to(x.scalar_type()));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const auto& weight = saved[1];
    at::Tensor x_gradient;
    at::Tensor gradient_of_weight;
    if (context->needs_input_grad(0)) {
      x_gradient = row_product(gradients[0], weight.to(x.scalar_type()).t());
    }
    if (context->needs_input_grad(1)) {
      gradient_of_weight = weight_gradient(gradients[0], x, weight.scalar_type());
    }
    return {x_gradient, gradient_of_weight};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) {
  expect_values("linear", {x, weight});
  MSA_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1),
            "linear: x must be [T, K] and weight [N, K] with one K, got ", x.sizes(), " and ",
            weight.sizes());
  return Linear::apply(x, weight);
}

at::Tensor row_product(const at::Tensor& a, const at::Tensor& b) {
  // Twice as fast on some processors, but only of these.
  if (a.is_cpu() && a.scalar_type() == at::kFloat) return ops::linear(a, b);
  return at::linear(a, b);
}

at::Tensor weight_gradient(const at::Tensor& gradient, const at::Tensor& x, at::ScalarType type) {
  const auto wide = wide_type(x);
  // Products of rounded values, sums that are not: only GPUs have it in one.
  if (x.is_cuda() && x.scalar_type() != wide) return at::mm(gradient.t(), x, wide).to(type);
  const auto columns = gradient.to(wide).t();
  const auto x_columns = x.to(wide).t();
  if (columns.size(0) <= x_columns.size(0)) return row_product(columns, x_columns).to(type);
  // A CPU copies the first factor to lay it out by rows: let it be the smaller one.
  return row_product(x_columns, columns).t().to(type).contiguous();
}

}  // namespace msa::autograd
