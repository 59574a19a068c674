#pragma once
// Folded queries rounded for a tile function, and how far the rounding may move a score.

#include "msa/kernels/route_tile.h"

namespace msa::kernels {

/// Steps of four bytes of a key: as many values of F as one instruction multiplies for one token.
template <int kStep>
constexpr int64_t steps_of(int64_t key_dim) {
  return (key_dim + kStep - 1) / kStep;
}

/// More than what squares and products lose below the range of float32.
constexpr double kShortest = 0x1p-62;

/// RoutePath::packed_bytes and RoutePath::pack for queries of bfloat16, two values a step.
int64_t packed_bytes_bf16(int64_t num_tokens, int64_t key_dim);
void pack_bf16(const RouteScoresParams& params, PackedQuery& packed);

/// The same for queries as unsigned bytes around 128, four values a step and one scale a token.
int64_t packed_bytes_int8(int64_t num_tokens, int64_t key_dim);
void pack_int8(const RouteScoresParams& params, PackedQuery& packed);

}  // namespace msa::kernels
