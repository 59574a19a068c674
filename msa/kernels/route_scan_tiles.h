#pragma once
// The scan of keys as products of large tiles: Hopper GPUs only.

#include "msa/kernels/route_batch_parts.h"

namespace msa::kernels {

/// Products of int8 are summed in int32, those of bfloat16 in float32.
template <typename Sum>
constexpr bool kIsInt8 = false;
template <>
constexpr bool kIsInt8<int32_t> = true;

/// Whether this GPU has, and this library was built for, what scan_keys_in_tiles uses.
bool can_scan_keys_in_tiles();

/// As scan_keys, if can_scan_keys_in_tiles(). Keys are read from memory once for all tokens.
void scan_keys_in_tiles(const RouteBatchParams& params, const RouteBatchSpace& space,
                        CudaStream stream);

/// As scan_keys, on any GPU: one pass over the keys for as many tokens as fit a multiprocessor's
/// memory.
void scan_keys_in_passes(const RouteBatchParams& params, const RouteBatchSpace& space,
                         CudaStream stream);

}  // namespace msa::kernels
