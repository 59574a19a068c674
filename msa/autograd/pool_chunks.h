#pragma once
// Mean over the rows of each chunk, with gradients.

#include <ATen/core/Tensor.h>

namespace msa::autograd {

/// x [N, F]; chunk_offsets int32 [C + 1] from 0 to N, never falling: chunk c has rows
/// chunk_offsets[c] .. chunk_offsets[c + 1] - 1. Result [C, F] of x's type: the mean of each
/// chunk's rows, summed in float32 or more; a chunk without rows gives zeros. The same bits every
/// time.
at::Tensor pool_chunks(const at::Tensor& x, const at::Tensor& chunk_offsets);

}  // namespace msa::autograd
