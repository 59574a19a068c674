#include "msa/autograd/norm_rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "msa/autograd/wide_type.h"
#include "msa/kernels/elementwise_gradient.h"
#include "msa/ops/elementwise.h"
#include "msa/ops/rows.h"

namespace msa::autograd {
namespace {

constexpr int64_t kRowBlock = 64;

/// x [T, H, D] with halves (a, b) becomes (a cos - b sin, b cos + a sin); angles [T, 1, D / 2].
at::Tensor rotated(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * cosine - halves[1] * sine, halves[1] * cosine + halves[0] * sine},
                 -1);
}

/// Keeps x as it came and one factor a head.
struct NormRope : torch::autograd::Function<NormRope> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, double eps, const at::Tensor& cosine,
                            const at::Tensor& sine) {
    const auto type = wide_type(x);
    const auto wide = x.to(type);
    const auto factor = wide.square().mean(-1, /*keepdim=*/true).add_(eps).rsqrt_();
    context->save_for_backward({x, weight, factor, cosine, sine});
    const auto normed = (wide * factor).mul_(weight.to(type));
    return rotated(normed, cosine.to(type).unsqueeze(1), sine.to(type).unsqueeze(1))
        .to(x.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const auto& weight = saved[1];
    const auto& factor = saved[2];
    const auto type = factor.scalar_type();
    // Back by the same angles.
    const auto gradient = rotated(gradients[0].to(type), saved[3].to(type).unsqueeze(1),
                                  saved[4].to(type).unsqueeze(1).neg());
    const auto unit = x.to(type) * factor;
    auto product = gradient * unit;
    const auto weight_gradient = product.sum(at::IntArrayRef{0, 1}).to(weight.scalar_type());
    const auto wide_weight = weight.to(type);
    const auto mean = product.mul_(wide_weight).mean(-1, /*keepdim=*/true);
    auto x_gradient = (gradient * wide_weight).sub_(unit * mean).mul_(factor);
    return {x_gradient.to(x.scalar_type()), weight_gradient, at::Tensor(), at::Tensor(),
            at::Tensor()};
  }
};

/// float32 on the CPU; factors are computed again.
struct NormRopeCpu : torch::autograd::Function<NormRopeCpu> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, double eps, const at::Tensor& cosine,
                            const at::Tensor& sine) {
    context->save_for_backward({x, weight, cosine, sine});
    context->saved_data["eps"] = eps;
    return ops::norm_rope(x, weight, eps, cosine, sine);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const auto gradient = gradients[0].contiguous();
    auto x_gradient = at::empty(x.sizes(), x.options());
    const int64_t head_dim = x.size(2);
    const kernels::NormRopeGradientRows rows{
        .x = x.const_data_ptr<float>(),
        .x_stride = x.stride(0),
        .weight = saved[1].const_data_ptr<float>(),
        .cosine = saved[2].const_data_ptr<float>(),
        .sine = saved[3].const_data_ptr<float>(),
        .out_gradient = gradient.const_data_ptr<float>(),
        .x_gradient = x_gradient.data_ptr<float>(),
        .num_heads = x.size(1),
        .head_dim = head_dim,
        .eps = static_cast<float>(context->saved_data["eps"].toDouble())};
    // A sum for every block, added in order: the same bits for any number of threads.
    auto parts = at::empty({(x.size(0) + kRowBlock - 1) / kRowBlock, head_dim}, x.options());
    float* part = parts.data_ptr<float>();
    ops::for_row_blocks(x.size(0), kRowBlock, [&](int64_t first, int64_t end) {
      kernels::norm_rope_gradient(rows, part + first / kRowBlock * head_dim, first, end);
    });
    return {x_gradient, parts.sum(0), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

bool is_plain(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat; }

}  // namespace

at::Tensor norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps,
                     const at::Tensor& cosine, const at::Tensor& sine) {
  expect_values("norm_rope", {x, weight, cosine, sine});
  MSA_CHECK(x.dim() == 3 && weight.dim() == 1 && weight.size(0) == x.size(2) && cosine.dim() == 2 &&
                cosine.size(0) == x.size(0) && cosine.size(1) * 2 == x.size(2) &&
                sine.sizes() == cosine.sizes(),
            "norm_rope: x must be [T, H, D], weight [D], cosine and sine [T, D / 2], got ",
            x.sizes(), ", ", weight.sizes(), ", ", cosine.sizes(), " and ", sine.sizes());
  if (is_plain(x) && is_plain(weight) && is_plain(cosine) && is_plain(sine) && x.stride(2) == 1 &&
      x.stride(1) == x.size(2)) {
    return NormRopeCpu::apply(x, weight.contiguous(), eps, cosine.contiguous(), sine.contiguous());
  }
  return NormRope::apply(x, weight, eps, cosine, sine);
}

}  // namespace msa::autograd
