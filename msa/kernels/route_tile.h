#pragma once
// The inner part of routing: the best score over all question tokens for a few chunks.

#include <cstddef>
#include <cstdint>

#include "msa/kernels/route_scores.h"

namespace msa::kernels {

constexpr int64_t kTileChunks = 8;   // chunks scored together
constexpr int64_t kTokenLanes = 16;  // tokens are padded to whole vectors by repeating the last one
constexpr int64_t kTileTokens = 48;  // tokens whose sums stay in registers

/// The folded queries, rounded and laid out for a tile function.
struct PackedQuery {
  std::byte* values = nullptr;  // tiles of up to kTileTokens tokens, each [F / step][tokens][step],
                                // step values of F
  float* token_scale = nullptr;  // [padded tokens], int8 only
  int64_t num_tokens = 0;        // padded
  float* token_error = nullptr;  // [padded tokens], rounded queries only: no score of a key of
                                 // length 1 in float32 is farther from the scanned one
};

/// One way to score chunks. The functions of a path belong together.
struct RoutePath {
  const char* name;
  /// Bytes of PackedQuery::values, with room to make them.
  int64_t (*packed_bytes)(int64_t num_tokens, int64_t key_dim);
  void (*pack)(const RouteScoresParams& params, PackedQuery& packed);
  /// out[i] = max over tokens of query . key[first + i], i < count <= kTileChunks. Unless the path
  /// is exact, reach[i] is at least what out[i] would be in float32.
  void (*score)(const RouteScoresParams& params, const PackedQuery& packed, int64_t first,
                int64_t count, float* out, float* reach);
  bool is_exact;  // queries are not rounded: scores need no second look
};

/// Queries as float32 and keys widened on the way: any CPU.
const RoutePath& route_path_wide();

/// Queries rounded to bfloat16 / int8; null where this CPU or build lacks AVX-512 BF16 / VNNI.
const RoutePath* route_path_bf16();
const RoutePath* route_path_int8();

/// Tokens after padding.
constexpr int64_t padded_tokens(int64_t num_tokens) {
  return (num_tokens + kTokenLanes - 1) / kTokenLanes * kTokenLanes;
}

/// Keeps route_scores_cpu on the wide path, for tests and for comparing speeds. Not for use while
/// routing runs.
void set_wide_routing_only(bool is_wide_only);

}  // namespace msa::kernels
