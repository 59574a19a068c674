#include "msa/autograd/attention_heads.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "msa/autograd/device_kernels.h"
#include "msa/autograd/kernel_arrays.h"
#include "msa/autograd/norm_rope.h"
#include "msa/autograd/wide_type.h"

namespace msa::autograd {
namespace {

/// By the kernels, of joint rows with queries. Keeps them, and finds their roots again.
struct DeviceAttentionHeads : torch::autograd::Function<DeviceAttentionHeads> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const at::Tensor& joint, const at::Tensor& q_weight,
                                                const at::Tensor& k_weight,
                                                const at::Tensor& cosine, const at::Tensor& sine,
                                                double eps, int64_t num_heads,
                                                int64_t num_kv_heads) {
    const int64_t head_dim = k_weight.size(0);
    const auto rows = array_of(joint);
    kernels::NormHeadsParams params{.joint = numbers_of(rows),
                                    .row_stride = joint.size(1),
                                    .cosine = cosine.const_data_ptr<float>(),
                                    .sine = sine.const_data_ptr<float>(),
                                    .num_tokens = joint.size(0),
                                    .head_dim = head_dim,
                                    .eps = static_cast<float>(eps)};
    torch::autograd::variable_list out;
    int64_t column = 0;
    const auto add_group = [&](int64_t count, const at::Tensor& weight) {
      out.push_back(at::empty({joint.size(0), count, head_dim}, joint.options()));
      params.group[params.num_groups++] = {
          .first_column = column,
          .num_heads = count,
          .weight = weight.defined() ? weight.const_data_ptr<float>() : nullptr,
          .out = numbers_of(out.back())};
      column += count * head_dim;
    };
    if (num_heads > 0) add_group(num_heads, q_weight);
    add_group(num_kv_heads, k_weight);
    add_group(num_kv_heads, at::Tensor());
    opened_kernels().norm_heads(params, nullptr);
    context->save_for_backward({rows, q_weight, k_weight, cosine, sine});
    context->saved_data["eps"] = eps;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto& joint = saved[0];
    const auto joint_gradient = at::empty_like(joint);
    const int64_t head_dim = saved[2].size(0);
    const auto num_groups = static_cast<int>(gradients.size());
    const kernels::CudaLibrary& library = opened_kernels();
    const auto room =
        device_workspace(joint, library.norm_heads_gradient_workspace_bytes(head_dim));
    kernels::NormHeadsGradientParams params{
        .joint = numbers_of(joint),
        .joint_gradient = numbers_of(joint_gradient),
        .row_stride = joint.size(1),
        .gradient_stride = joint.size(1),
        .cosine = saved[3].const_data_ptr<float>(),
        .sine = saved[4].const_data_ptr<float>(),
        .workspace = room.data_ptr(),
        .num_tokens = joint.size(0),
        .head_dim = head_dim,
        .eps = static_cast<float>(context->saved_data["eps"].toDouble())};
    at::Tensor weight_gradients[2];  // of queries and of keys
    int64_t column = 0;
    for (int i = 0; i < num_groups; ++i) {
      gradients[i] = array_of(gradients[i]);
      kernels::HeadGroupGradient& group = params.group[params.num_groups++];
      group = {.first_column = column,
               .num_heads = gradients[i].size(1),
               .weight = nullptr,
               .out_gradient = numbers_of(gradients[i]),
               .weight_gradient = nullptr};
      column += group.num_heads * head_dim;
      if (i + 1 == num_groups) break;  // values have no weight
      const int place = i + 3 - num_groups;
      const auto& weight = saved[1 + place];
      weight_gradients[place] = at::empty_like(weight);
      group.weight = weight.const_data_ptr<float>();
      group.weight_gradient = weight_gradients[place].data_ptr<float>();
    }
    library.norm_heads_gradient(params, nullptr);
    return {joint_gradient, weight_gradients[0], weight_gradients[1], at::Tensor(),
            at::Tensor(),   at::Tensor(),        at::Tensor(),        at::Tensor()};
  }
};

bool has_kernels(const at::Tensor& joint, const HeadLayout& layout, const at::Tensor& q_weight,
                 const at::Tensor& k_weight, const at::Tensor& cosine, const at::Tensor& sine) {
  return layout.head_dim % 16 == 0 && layout.head_dim > 0 &&
         layout.head_dim <= kernels::kLargestLearnedHead && layout.num_kv_heads > 0 &&
         device_kernels({joint}) != nullptr && is_float_array(q_weight) &&
         is_float_array(k_weight) && is_float_array(cosine) && is_float_array(sine);
}

}  // namespace

AttentionHeads attention_heads(const at::Tensor& joint, const HeadLayout& layout,
                               const at::Tensor& q_weight, const at::Tensor& k_weight, double eps,
                               const at::Tensor& cosine, const at::Tensor& sine) {
  const auto [num_heads, num_kv_heads, head_dim] = layout;
  expect_values("attention_heads", {joint, q_weight, k_weight, cosine, sine});
  MSA_CHECK(joint.dim() == 2 && joint.size(1) == (num_heads + 2 * num_kv_heads) * head_dim &&
                q_weight.dim() == 1 && q_weight.size(0) == head_dim &&
                k_weight.sizes() == q_weight.sizes() && cosine.dim() == 2 &&
                cosine.size(0) == joint.size(0) && cosine.size(1) * 2 == head_dim &&
                sine.sizes() == cosine.sizes(),
            "attention_heads: joint must be [T, ", num_heads, " + 2 * ", num_kv_heads, " heads of ",
            head_dim, "], weights [D], cosine and sine [T, D / 2], got ", joint.sizes(), ", ",
            q_weight.sizes(), ", ", k_weight.sizes(), ", ", cosine.sizes(), " and ", sine.sizes());
  AttentionHeads out;
  if (has_kernels(joint, layout, q_weight, k_weight, cosine, sine)) {
    const auto heads = DeviceAttentionHeads::apply(joint, q_weight, k_weight, cosine, sine, eps,
                                                   num_heads, num_kv_heads);
    if (num_heads > 0) out.q = heads[0];
    out.k = heads[heads.size() - 2];
    out.v = heads[heads.size() - 1];
    return out;
  }
  const auto heads = joint.unflatten(1, {num_heads + 2 * num_kv_heads, head_dim});
  if (num_heads > 0) {
    out.q = norm_rope(heads.narrow(1, 0, num_heads), q_weight, eps, cosine, sine);
  }
  out.k = norm_rope(heads.narrow(1, num_heads, num_kv_heads), k_weight, eps, cosine, sine);
  out.v = heads.narrow(1, num_heads + num_kv_heads, num_kv_heads);
  return out;
}

}  // namespace msa::autograd
