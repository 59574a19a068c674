#pragma once
// Heads of attention out of joint rows, with gradients.

#include <ATen/core/Tensor.h>

namespace msa::autograd {

struct AttentionHeads {
  at::Tensor q;  // [T, H, D], normed and rotated; undefined of no queries
  at::Tensor k;  // [T, G, D], normed and rotated
  at::Tensor v;  // [T, G, D]
};

/// How heads lie in a joint row: H of queries, G of keys, G of values.
struct HeadLayout {
  int64_t num_heads = 0;     // H; 0: rows have keys and values alone
  int64_t num_kv_heads = 0;  // G
  int64_t head_dim = 0;      // D
};

/// joint [T, (H + 2 * G) * D]; q_weight and k_weight [D]; cosine and sine [T, D / 2]. Queries and
/// keys as by norm_rope; gradients of the joint rows are written in one piece.
AttentionHeads attention_heads(const at::Tensor& joint, const HeadLayout& layout,
                               const at::Tensor& q_weight, const at::Tensor& k_weight, double eps,
                               const at::Tensor& cosine, const at::Tensor& sine);

}  // namespace msa::autograd
