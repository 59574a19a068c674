#include "msa/autograd/rms_norm.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "msa/autograd/wide_type.h"

namespace msa::autograd {
namespace {

/// Keeps x as it came and one factor a row.
struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, double eps) {
    const auto type = wide_type(x);
    const auto wide = x.to(type);
    const auto factor = wide.square().mean(-1, /*keepdim=*/true).add_(eps).rsqrt_();
    context->save_for_backward({x, weight, factor});
    return (wide * factor).mul_(weight.to(type)).to(x.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const auto& weight = saved[1];
    const auto& factor = saved[2];
    const auto gradient = gradients[0].to(factor.scalar_type());
    const auto unit = x.to(factor.scalar_type()) * factor;
    auto product = gradient * unit;
    const auto weight_gradient = product.sum(0).to(weight.scalar_type());
    const auto wide_weight = weight.to(factor.scalar_type());
    const auto mean = product.mul_(wide_weight).mean(-1, /*keepdim=*/true);
    auto x_gradient = (gradient * wide_weight).sub_(unit * mean).mul_(factor);
    return {x_gradient.to(x.scalar_type()), weight_gradient, at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  expect_values("rms_norm", {x, weight});
  MSA_CHECK(x.dim() == 2 && weight.dim() == 1 && weight.size(0) == x.size(1),
            "rms_norm: x must be [T, E] and weight [E], got ", x.sizes(), " and ", weight.sizes());
  return RmsNorm::apply(x, weight, eps);
}

}  // namespace msa::autograd
