#include "msa/autograd/unit_heads.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/custom_function.h>

#include "msa/autograd/device_kernels.h"
#include "msa/autograd/kernel_arrays.h"
#include "msa/autograd/wide_type.h"

namespace msa::autograd {
namespace {

constexpr double kShortest = 1e-12;

/// Keeps x as it came and one length a head.
struct UnitHeads : torch::autograd::Function<UnitHeads> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    const auto wide = x.to(wide_type(x));
    const auto length = wide.square().sum(-1, /*keepdim=*/true).sqrt_();
    context->save_for_backward({x, length});
    return (wide / length.clamp_min(kShortest)).to(x.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const auto& length = saved[1];
    const auto type = length.scalar_type();
    const auto factor = at::where(length < kShortest, 0.0, length.reciprocal());
    const auto unit = x.to(type) * factor;
    const auto gradient = gradients[0].to(type);
    const auto along = (gradient * unit).sum(-1, /*keepdim=*/true);
    auto x_gradient = (gradient - unit * along).mul_(factor);
    return {x_gradient.to(x.scalar_type())};
  }
};

/// By the kernels.
struct DeviceUnitHeads : torch::autograd::Function<DeviceUnitHeads> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    auto out = at::empty_like(x);
    opened_kernels().unit_heads({.x = numbers_of(x),
                                 .out = numbers_of(out),
                                 .num_heads = x.size(0) * x.size(1),
                                 .head_dim = x.size(2)},
                                nullptr);
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto x = context->get_saved_variables()[0];
    const auto gradient = array_of(gradients[0]);
    const auto x_gradient = at::empty_like(x);
    opened_kernels().unit_heads_gradient({.x = numbers_of(x),
                                          .out_gradient = numbers_of(gradient),
                                          .x_gradient = numbers_of(x_gradient),
                                          .num_heads = x.size(0) * x.size(1),
                                          .head_dim = x.size(2)},
                                         nullptr);
    return {x_gradient};
  }
};

}  // namespace

at::Tensor unit_heads(const at::Tensor& x) {
  expect_values("unit_heads", {x});
  MSA_CHECK(x.dim() == 3, "unit_heads: x must be [N, G, D], got ", x.sizes());
  if (x.size(2) % 8 == 0 && x.size(2) > 0 && x.size(2) <= kernels::kLargestUnitHead &&
      device_kernels({x}) != nullptr) {
    return DeviceUnitHeads::apply(array_of(x));
  }
  return UnitHeads::apply(x);
}

}  // namespace msa::autograd
