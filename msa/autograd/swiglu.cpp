#include "msa/autograd/swiglu.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <torch/csrc/autograd/custom_function.h>

#include "msa/autograd/device_kernels.h"
#include "msa/autograd/kernel_arrays.h"
#include "msa/autograd/wide_type.h"
#include "msa/kernels/elementwise_gradient.h"
#include "msa/ops/elementwise.h"
#include "msa/ops/rows.h"

namespace msa::autograd {
namespace {

constexpr int64_t kRowBlock = 32;

/// Keeps its input alone: silu(gate) is computed again.
struct Swiglu : torch::autograd::Function<Swiglu> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& gate_up) {
    context->save_for_backward({gate_up});
    const auto halves = gate_up.chunk(2, -1);
    return at::silu(halves[0]).mul_(halves[1]);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto halves = saved[0].chunk(2, -1);
    const auto& gradient = gradients[0];
    auto result = at::empty(saved[0].sizes(), saved[0].options());
    auto results = result.chunk(2, -1);
    results[0].copy_(at::silu_backward(gradient * halves[1], halves[0]));
    at::mul_out(results[1], at::silu(halves[0]), gradient);
    return {result};
  }
};

/// float32 on the CPU.
struct SwigluCpu : torch::autograd::Function<SwigluCpu> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& gate_up) {
    context->save_for_backward({gate_up});
    return ops::swiglu(gate_up);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto gate_up = context->get_saved_variables()[0];
    const auto gradient = gradients[0].contiguous();
    auto result = at::empty_like(gate_up);
    const kernels::SwigluGradientRows rows{.gate_up = gate_up.const_data_ptr<float>(),
                                           .out_gradient = gradient.const_data_ptr<float>(),
                                           .gate_up_gradient = result.data_ptr<float>(),
                                           .dim = gradient.size(1)};
    ops::for_row_blocks(gradient.size(0), kRowBlock, [&](int64_t first, int64_t end) {
      kernels::swiglu_gradient(rows, first, end);
    });
    return {result};
  }
};

/// By the kernels.
struct DeviceSwiglu : torch::autograd::Function<DeviceSwiglu> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& gate_up) {
    context->save_for_backward({gate_up});
    const int64_t dim = gate_up.size(1) / 2;
    auto out = at::empty({gate_up.size(0), dim}, gate_up.options());
    opened_kernels().swiglu({.gate_up = gate_up.const_data_ptr(),
                             .out = out.data_ptr(),
                             .type = kernels::NumberType::kBFloat16,
                             .dim = dim},
                            gate_up.size(0), nullptr);
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto gate_up = context->get_saved_variables()[0];
    const auto gradient = array_of(gradients[0]);
    const auto result = at::empty_like(gate_up);
    opened_kernels().swiglu_gradient({.gate_up = numbers_of(gate_up),
                                      .out_gradient = numbers_of(gradient),
                                      .gate_up_gradient = numbers_of(result),
                                      .num_tokens = gradient.size(0),
                                      .dim = gradient.size(1)},
                                     nullptr);
    return {result};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate_up) {
  expect_values("swiglu", {gate_up});
  MSA_CHECK(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0, "swiglu: must be [T, 2 * F], got ",
            gate_up.sizes());
  if (gate_up.is_cpu() && gate_up.scalar_type() == at::kFloat) {
    return SwigluCpu::apply(gate_up.contiguous());
  }
  if (gate_up.size(1) % 16 == 0 && gate_up.size(1) > 0 && device_kernels({gate_up}) != nullptr) {
    return DeviceSwiglu::apply(array_of(gate_up));
  }
  return Swiglu::apply(gate_up);
}

}  // namespace msa::autograd
