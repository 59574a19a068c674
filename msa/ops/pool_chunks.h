#pragma once
// Mean over chunks of P rows, document by document, on tensors.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace msa::ops {

/// x [S, G, D] float32; offsets [N + 1] int64 from 0 to S: document n has rows offsets[n] ..
/// offsets[n + 1]
/// - 1. Result [C, G, D], C = sum of ceil(length / P); with `normalizes` every [D] of it has
/// length 1.
at::Tensor pool_chunks(const at::Tensor& x, const at::Tensor& offsets, int64_t chunk_tokens,
                       bool normalizes);

}  // namespace msa::ops
