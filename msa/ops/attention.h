#pragma once
// Softmax attention on tensors.

#include <ATen/core/Tensor.h>

namespace msa::ops {

/// q [T, H, D], k and v [S, G, D], float32 and contiguous. Queries are aligned with the end of the
/// keys: query t sees keys 0 .. S - T + t, or all of them. Result [T, H * D] float32.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool is_causal);

/// Documents side by side, each causal in itself. q [S, H, D], k and v [S, G, D]; offsets [N + 1]
/// int64 from 0 to S: document n has rows offsets[n] .. offsets[n + 1] - 1. Result [S, H * D]
/// float32.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& offsets);

}  // namespace msa::ops
