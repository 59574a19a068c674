#include "msa/autograd/unit_heads.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

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

}  // namespace

at::Tensor unit_heads(const at::Tensor& x) {
  expect_values("unit_heads", {x});
  MSA_CHECK(x.dim() == 3, "unit_heads: x must be [N, G, D], got ", x.sizes());
  return UnitHeads::apply(x);
}

}  // namespace msa::autograd
