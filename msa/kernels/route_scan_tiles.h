#pragma once
// The scan of keys as products of large tiles or in bands: Hopper GPUs only.

#include "msa/kernels/route_batch_parts.h"

namespace msa::kernels {

/// Products of int8 are summed in int32, those of bfloat16 in float32.
template <typename Sum>
constexpr bool kIsInt8 = false;
template <>
constexpr bool kIsInt8<int32_t> = true;

/// Whether this GPU has, and this library was built for, what scan_keys_in_tiles uses.
bool can_scan_keys_in_tiles();

/// The tokens of a tile where so many are multiplied, filled up. A question's may be in several
/// tiles.
int64_t tile_tokens(int64_t num_tokens);

/// As scan_keys, if can_scan_keys_in_tiles(). Keys are read from memory once for all tokens. The
/// scores of questions in several tiles must hold zeros.
void scan_keys_in_tiles(const RouteBatchParams& params, const RouteBatchSpace& space,
                        CudaStream stream);

/// Whether this GPU can, and all queries fit a multiprocessor's memory beside keys on their way.
bool can_scan_keys_in_bands(const RouteBatchParams& params, const RouteBatchSpace& space);

/// As scan_keys, if can_scan_keys_in_bands(). Keys are read once, by whoever comes free.
void scan_keys_in_bands(const RouteBatchParams& params, const RouteBatchSpace& space,
                        CudaStream stream);

/// As scan_keys, on any GPU: one pass over the keys for as many tokens as fit a multiprocessor's
/// memory.
void scan_keys_in_passes(const RouteBatchParams& params, const RouteBatchSpace& space,
                         CudaStream stream);

}  // namespace msa::kernels
