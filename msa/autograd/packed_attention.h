#pragma once
// Causal attention of sequences side by side, with gradients.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace msa::autograd {

/// q [Nq, H, D], k and v [Nk, G, D] of one type, H a multiple of G; query_offsets and key_offsets
/// int32 [S + 1]: sequence s has queries query_offsets[s] .. query_offsets[s + 1] - 1 and keys
/// likewise. Its queries are aligned with the end of its keys: of n queries and m keys, query i
/// sees keys 0 .. m - n + i; one that sees none gives zeros. longest_query and longest_key are the
/// most queries and keys of a sequence, or more. Result [Nq, H, D] of q's type.
///
/// Sums are float32 or float64, and gradients the same bits every time; on the CPU for any number
/// of threads. On a GPU bfloat16 and half go through torch's flash attention (D a multiple of 8),
/// other types and D sequence by sequence, after waiting for the offsets.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& query_offsets, const at::Tensor& key_offsets,
                            int64_t longest_query, int64_t longest_key, double scale);

/// The same from plain products and softmax, sequence by sequence, on any device.
at::Tensor composed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& query_offsets, const at::Tensor& key_offsets,
                              double scale);

}  // namespace msa::autograd
