#include "msa/autograd/packed_attention.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>
#include <vector>

#include "msa/autograd/repeatable.h"
#include "msa/autograd/wide_type.h"
#include "msa/base/threads.h"
#include "msa/kernels/packed_attention_gradient.h"

namespace msa::autograd {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <typename Number>
kernels::AttentionForwardParams<Number> params_of(const variable_list& tensors, double scale) {
  const auto& q = tensors[0];
  const auto& k = tensors[1];
  return {.query = q.const_data_ptr<Number>(),
          .key = k.const_data_ptr<Number>(),
          .value = tensors[2].const_data_ptr<Number>(),
          .out = tensors[3].mutable_data_ptr<Number>(),
          .log_sum = tensors[4].mutable_data_ptr<Number>(),
          .query_offsets = tensors[5].const_data_ptr<int32_t>(),
          .key_offsets = tensors[6].const_data_ptr<int32_t>(),
          .num_heads = q.size(1),
          .num_kv_heads = k.size(1),
          .head_dim = q.size(2),
          .scale = static_cast<Number>(scale)};
}

/// Calls body(sequence, kv_head) for all of them, on all threads.
template <typename Body>
void for_heads(const variable_list& tensors, const Body& body) {
  const int64_t num_kv_heads = tensors[1].size(1);
  parallel_for((tensors[5].numel() - 1) * num_kv_heads,
               [&](int64_t i) { body(i / num_kv_heads, i % num_kv_heads); });
}

/// float32 and float64 on the CPU; everything contiguous.
struct AttentionCpu : torch::autograd::Function<AttentionCpu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const at::Tensor& query_offsets,
                            const at::Tensor& key_offsets, double scale) {
    auto out = at::empty_like(q);
    const auto log_sum = at::empty({q.size(0), q.size(1)}, q.options());
    const variable_list tensors{q, k, v, out, log_sum, query_offsets, key_offsets};
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "packed_attention", [&] {
      const auto params = params_of<scalar_t>(tensors, scale);
      for_heads(tensors, [&](int64_t sequence, int64_t kv_head) {
        kernels::attention_forward(params, sequence, kv_head);
      });
    });
    context->save_for_backward(tensors);
    context->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto tensors = context->get_saved_variables();
    const double scale = context->saved_data["scale"].toDouble();
    const auto gradient = gradients[0].contiguous();
    auto q_gradient = at::empty_like(tensors[0]);
    auto k_gradient = at::empty_like(tensors[1]);
    auto v_gradient = at::empty_like(tensors[2]);
    AT_DISPATCH_FLOATING_TYPES(gradient.scalar_type(), "packed_attention", [&] {
      const kernels::AttentionBackwardParams<scalar_t> params{
          .forward = params_of<scalar_t>(tensors, scale),
          .out_gradient = gradient.const_data_ptr<scalar_t>(),
          .query_gradient = q_gradient.data_ptr<scalar_t>(),
          .key_gradient = k_gradient.data_ptr<scalar_t>(),
          .value_gradient = v_gradient.data_ptr<scalar_t>()};
      for_heads(tensors, [&](int64_t sequence, int64_t kv_head) {
        kernels::attention_backward(params, sequence, kv_head);
      });
    });
    return {q_gradient, k_gradient, v_gradient, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// bfloat16 and half on a GPU.
struct FlashAttention : torch::autograd::Function<FlashAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const at::Tensor& query_offsets,
                            const at::Tensor& key_offsets, int64_t longest_query,
                            int64_t longest_key, double scale) {
    const auto [out, log_sum, random_state, unused, mask] = at::_flash_attention_forward(
        q, k, v, query_offsets, key_offsets, longest_query, longest_key, /*dropout_p=*/0.0,
        /*is_causal=*/true, /*return_debug_mask=*/false, scale);
    context->save_for_backward(
        {q, k, v, out, log_sum, query_offsets, key_offsets, random_state, unused});
    context->saved_data["longest_query"] = longest_query;
    context->saved_data["longest_key"] = longest_key;
    context->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const RepeatableScope scope;
    const auto [q_gradient, k_gradient, v_gradient] = at::_flash_attention_backward(
        gradients[0].contiguous(), saved[0], saved[1], saved[2], saved[3], saved[4], saved[5],
        saved[6], context->saved_data["longest_query"].toInt(),
        context->saved_data["longest_key"].toInt(), /*dropout_p=*/0.0, /*is_causal=*/true, saved[7],
        saved[8], context->saved_data["scale"].toDouble());
    variable_list results{q_gradient, k_gradient, v_gradient};
    results.resize(8);
    return results;
  }
};

/// [n, m] true where query i sees key j.
at::Tensor visibility(int64_t num_queries, int64_t num_keys, const at::Tensor& like) {
  return at::ones({num_queries, num_keys}, like.options().dtype(at::kBool))
      .tril(num_keys - num_queries);
}

/// n queries [n, H, D] over m keys [m, G, D]; n and m are not 0.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const int64_t group = q.size(1) / k.size(1);
  const auto keys = k.repeat_interleave(group, 1).permute({1, 2, 0});
  const auto values = v.repeat_interleave(group, 1).transpose(0, 1);
  const auto scores = at::matmul(q.transpose(0, 1) * scale, keys);
  const auto is_seen = visibility(q.size(0), k.size(0), q);
  // Blind rows get equal weights, then none: no NaN passes either way.
  const auto weights =
      scores.masked_fill(is_seen.logical_not(), std::numeric_limits<float>::lowest()).softmax(-1) *
      is_seen;
  return at::matmul(weights, values).transpose(0, 1);
}

}  // namespace

at::Tensor composed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& query_offsets, const at::Tensor& key_offsets,
                              double scale) {
  const auto query_first = query_offsets.cpu();
  const auto key_first = key_offsets.cpu();
  const int32_t* query = query_first.const_data_ptr<int32_t>();
  const int32_t* key = key_first.const_data_ptr<int32_t>();
  const auto type = wide_type(q);
  std::vector<at::Tensor> parts{q.slice(0, 0, 0).to(type)};
  for (int64_t s = 0; s + 1 < query_first.numel(); ++s) {
    const auto queries = q.slice(0, query[s], query[s + 1]).to(type);
    if (queries.size(0) == 0) continue;
    if (key[s] == key[s + 1]) {
      parts.push_back(at::zeros_like(queries));
      continue;
    }
    parts.push_back(attend(queries, k.slice(0, key[s], key[s + 1]).to(type),
                           v.slice(0, key[s], key[s + 1]).to(type), scale));
  }
  return at::cat(parts).to(q.scalar_type());
}

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& query_offsets, const at::Tensor& key_offsets,
                            int64_t longest_query, int64_t longest_key, double scale) {
  expect_values("packed_attention", {q, k, v});
  MSA_CHECK(q.dim() == 3 && k.dim() == 3 && v.sizes() == k.sizes() && q.size(2) == k.size(2) &&
                k.size(1) > 0 && q.size(1) % k.size(1) == 0 && q.size(2) > 0 &&
                q.size(2) <= kernels::kMaxGradientDim && q.scalar_type() == k.scalar_type() &&
                q.scalar_type() == v.scalar_type(),
            "packed_attention: q must be [Nq, H, D], k and v [Nk, G, D] of one type with H a "
            "multiple of G and D <= ",
            kernels::kMaxGradientDim, ", got ", q.sizes(), ", ", k.sizes(), " and ", v.sizes());
  expect_offsets("packed_attention queries", query_offsets, q.size(0));
  expect_offsets("packed_attention keys", key_offsets, k.size(0));
  MSA_CHECK(query_offsets.numel() == key_offsets.numel(),
            "packed_attention: ", query_offsets.numel() - 1, " sequences of queries, ",
            key_offsets.numel() - 1, " of keys");
  if (q.is_cpu()) {
    const auto type = wide_type(q);
    return AttentionCpu::apply(q.to(type).contiguous(), k.to(type).contiguous(),
                               v.to(type).contiguous(), query_offsets, key_offsets, scale)
        .to(q.scalar_type());
  }
  const bool is_short = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  if (is_short && q.size(2) % 8 == 0 && q.size(0) > 0 && k.size(0) > 0) {
    return FlashAttention::apply(q, k, v, query_offsets, key_offsets, longest_query, longest_key,
                                 scale);
  }
  return composed_attention(q, k, v, query_offsets, key_offsets, scale);
}

}  // namespace msa::autograd
