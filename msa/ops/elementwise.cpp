#include "msa/ops/elementwise.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "msa/kernels/elementwise.h"
#include "msa/ops/rows.h"

namespace msa::ops {
namespace {

constexpr int64_t kRowBlock = 32;

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                    at::ScalarType type) {
  expect_floats(x, "rms_norm x");
  expect_floats(weight, "rms_norm weight");
  MSA_CHECK(x.dim() == 2 && weight.dim() == 1 && weight.size(0) == x.size(1),
            "rms_norm: x must be [T, E] and weight [E], got ", x.sizes(), " and ", weight.sizes());
  auto out = at::empty(x.sizes(), x.options().dtype(type));
  const kernels::RmsNormParams params{.x = x.data_ptr<float>(),
                                      .weight = weight.data_ptr<float>(),
                                      .out = out.data_ptr(),
                                      .out_type = number_type(out, "rms_norm result"),
                                      .dim = x.size(1),
                                      .eps = static_cast<float>(eps)};
  for_row_blocks(x.size(0), kRowBlock,
                 [&](int64_t first, int64_t end) { kernels::rms_norm(params, first, end); });
  return out;
}

at::Tensor norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps,
                     const at::Tensor& cosine, const at::Tensor& sine) {
  expect_floats(weight, "norm_rope weight");
  expect_floats(cosine, "norm_rope cosine");
  expect_floats(sine, "norm_rope sine");
  MSA_CHECK(x.dim() == 3 && x.stride(2) == 1 && x.stride(1) == x.size(2) && weight.dim() == 1 &&
                weight.size(0) == x.size(2) && cosine.dim() == 2 && cosine.size(0) == x.size(0) &&
                cosine.size(1) * 2 == x.size(2) && sine.sizes() == cosine.sizes(),
            "norm_rope: x must be [T, heads, D] with whole heads, cosine and sine [T, D / 2], got ",
            x.sizes(), ", ", cosine.sizes(), " and ", sine.sizes());
  auto out = at::empty(x.sizes(), x.options().dtype(at::kFloat));
  const kernels::NormRopeParams params{.x = x.data_ptr(),
                                       .x_type = number_type(x, "norm_rope x"),
                                       .x_stride = x.stride(0),
                                       .weight = weight.data_ptr<float>(),
                                       .cosine = cosine.data_ptr<float>(),
                                       .sine = sine.data_ptr<float>(),
                                       .out = out.data_ptr<float>(),
                                       .num_heads = x.size(1),
                                       .head_dim = x.size(2),
                                       .eps = static_cast<float>(eps)};
  for_row_blocks(x.size(0), kRowBlock,
                 [&](int64_t first, int64_t end) { kernels::norm_rope(params, first, end); });
  return out;
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  MSA_CHECK(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0 && gate_up.is_contiguous(),
            "swiglu: must be contiguous [T, 2 * F], got ", gate_up.sizes());
  const int64_t dim = gate_up.size(1) / 2;
  auto out = at::empty({gate_up.size(0), dim}, gate_up.options());
  const kernels::SwigluParams params{.gate_up = gate_up.data_ptr(),
                                     .out = out.data_ptr(),
                                     .type = number_type(gate_up, "swiglu gate_up"),
                                     .dim = dim};
  for_row_blocks(gate_up.size(0), kRowBlock,
                 [&](int64_t first, int64_t end) { kernels::swiglu(params, first, end); });
  return out;
}

at::Tensor l2_normalize(const at::Tensor& x) {
  const auto input = x.contiguous();
  expect_floats(input, "l2_normalize x");
  MSA_CHECK(input.dim() > 0 && input.size(-1) > 0,
            "l2_normalize: the last axis must not be empty, got ", input.sizes());
  auto out = at::empty_like(input);
  const int64_t dim = input.size(-1);
  const kernels::NormalizeParams params{
      .x = input.data_ptr<float>(), .out = out.data_ptr<float>(), .dim = dim};
  for_row_blocks(input.numel() / dim, 8 * kRowBlock,
                 [&](int64_t first, int64_t end) { kernels::l2_normalize(params, first, end); });
  return out;
}

at::Tensor add(const at::Tensor& x, const at::Tensor& y) {
  MSA_CHECK(x.sizes() == y.sizes() && x.dim() == 2 && y.is_contiguous(),
            "add: both must be [T, E], got ", x.sizes(), " and ", y.sizes());
  auto sum = x.contiguous().clone();
  expect_floats(sum, "add x");
  const kernels::AddParams params{.x = y.data_ptr(),
                                  .x_type = number_type(y, "add y"),
                                  .sum = sum.data_ptr<float>(),
                                  .dim = y.size(1)};
  for_row_blocks(sum.size(0), kRowBlock,
                 [&](int64_t first, int64_t end) { kernels::add_rows(params, first, end); });
  return sum;
}

}  // namespace msa::ops
