#include "msa/autograd/rms_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "msa/autograd/device_kernels.h"
#include "msa/autograd/kernel_arrays.h"
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

/// By the kernels: {sum, normed}; without an addend the sum is x.
struct DeviceRmsNorm : torch::autograd::Function<DeviceRmsNorm> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const at::Tensor& x,
                                                const std::optional<at::Tensor>& addend,
                                                const at::Tensor& weight, double eps) {
    const auto rows = array_of(x);
    const auto added = addend ? array_of(*addend) : at::Tensor();
    const auto sum = addend ? at::empty_like(rows) : x;
    const auto normed = at::empty_like(rows);
    const auto root = at::empty({x.size(0)}, weight.options());
    opened_kernels().norm_rows({.x = numbers_of(rows),
                                .addend = addend ? numbers_of(added) : nullptr,
                                .sum = addend ? numbers_of(sum) : nullptr,
                                .weight = weight.const_data_ptr<float>(),
                                .out = numbers_of(normed),
                                .inverse_root = root.data_ptr<float>(),
                                .num_tokens = x.size(0),
                                .dim = x.size(1),
                                .eps = static_cast<float>(eps)},
                               nullptr);
    context->set_materialize_grads(false);
    context->saved_data["adds"] = addend.has_value();
    context->save_for_backward({sum, weight, root});
    return {sum, normed};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const bool adds = context->saved_data["adds"].toBool();
    if (!gradients[1].defined()) {
      return {gradients[0], adds ? gradients[0] : at::Tensor(), at::Tensor(), at::Tensor()};
    }
    const auto saved = context->get_saved_variables();
    const auto x = array_of(saved[0]);
    const auto& weight = saved[1];
    const auto gradient = array_of(gradients[1]);
    const auto addend = gradients[0].defined() ? array_of(gradients[0]) : gradients[0];
    const auto x_gradient = at::empty_like(x);
    const auto weight_gradient = at::empty_like(weight);
    const kernels::CudaLibrary& library = opened_kernels();
    const auto room = device_workspace(x, library.norm_rows_gradient_workspace_bytes(x.size(1)));
    library.norm_rows_gradient({.x = numbers_of(x),
                                .weight = weight.const_data_ptr<float>(),
                                .inverse_root = saved[2].const_data_ptr<float>(),
                                .out_gradient = numbers_of(gradient),
                                .addend = addend.defined() ? numbers_of(addend) : nullptr,
                                .x_gradient = numbers_of(x_gradient),
                                .weight_gradient = weight_gradient.data_ptr<float>(),
                                .workspace = room.data_ptr(),
                                .num_tokens = x.size(0),
                                .dim = x.size(1)},
                               nullptr);
    return {x_gradient, adds ? x_gradient : at::Tensor(), weight_gradient, at::Tensor()};
  }
};

bool has_kernels(const at::Tensor& x, const at::Tensor& addend, const at::Tensor& weight) {
  return x.size(1) % 8 == 0 && x.size(1) > 0 && x.size(1) <= kernels::kLongestLearnedRow &&
         device_kernels({x, addend.defined() ? addend : x}) != nullptr && is_float_array(weight);
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return add_rms_norm(x, {}, weight, eps).normed;
}

NormedSum add_rms_norm(const at::Tensor& x, const at::Tensor& addend, const at::Tensor& weight,
                       double eps) {
  expect_values("rms_norm", {x, weight});
  MSA_CHECK(x.dim() == 2 && weight.dim() == 1 && weight.size(0) == x.size(1),
            "rms_norm: x must be [T, E] and weight [E], got ", x.sizes(), " and ", weight.sizes());
  MSA_CHECK(!addend.defined() || addend.sizes() == x.sizes(), "add_rms_norm: x is ", x.sizes(),
            ", its addend ", addend.sizes());
  if (has_kernels(x, addend, weight)) {
    const auto added = addend.defined() ? std::optional(addend) : std::nullopt;
    const auto results = DeviceRmsNorm::apply(x, added, weight, eps);
    return {.sum = results[0], .normed = results[1]};
  }
  const auto sum = addend.defined() ? x + addend : x;
  return {.sum = sum, .normed = RmsNorm::apply(sum, weight, eps)};
}

}  // namespace msa::autograd
