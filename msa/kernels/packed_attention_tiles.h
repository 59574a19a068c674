#pragma once
// Attention as products of large tiles: Hopper GPUs only.

#include "msa/kernels/packed_attention.h"

namespace msa::kernels {

/// Whether attend_in_tiles takes these, which have passed the checks of packed_attention_cuda: this
/// GPU has, and this library was built for, what it uses; heads have 64 or 128 numbers, and H / G
/// divides 128; and there are enough queries to keep the GPU busy.
bool can_attend_in_tiles(const PackedAttentionParams& params);

/// As packed_attention_cuda, if can_attend_in_tiles().
void attend_in_tiles(const PackedAttentionParams& params, CudaStream stream);

}  // namespace msa::kernels
