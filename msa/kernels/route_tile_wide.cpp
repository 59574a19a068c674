#include <algorithm>
#include <limits>

#include "msa/kernels/route_tile.h"
#include "msa/kernels/vector_lanes.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

template <int kLanes>
constexpr int64_t kRows = kLanes == 16 ? 8 : 4;  // chunks whose sums share the registers
constexpr int kMaxVectors = 3;                   // vectors of tokens whose sums share the registers
constexpr int64_t kSlice = 256;                  // values of F widened at a time

int64_t packed_bytes(int64_t num_tokens, int64_t key_dim) {
  return padded_tokens(num_tokens) * key_dim * static_cast<int64_t>(sizeof(float));
}

/// Tiles of kTileTokens tokens, each [F][tokens].
void pack(const RouteScoresParams& p, PackedQuery& packed) {
  auto* out = reinterpret_cast<float*>(packed.values);
  for (int64_t first = 0; first < packed.num_tokens; first += kTileTokens) {
    const int64_t count = std::min(kTileTokens, packed.num_tokens - first);
    for (int64_t i = 0; i < p.key_dim; ++i) {
      for (int64_t t = 0; t < count; ++t) {
        *out++ = p.query[std::min(first + t, p.num_tokens - 1) * p.key_dim + i];
      }
    }
  }
}

/// Asks for the same part of the next tile's row, so that it is in the second cache in time.
template <typename Key>
MSA_INLINE void fetch_ahead(const Key* key, int64_t count, int64_t row_values) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(Key));
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(key + row_values + i, 0, 2);
}

template <typename Key>
MSA_INLINE void widen_slice(const Key* key, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = widen(key[i]);
}

MSA_INLINE void widen_slice(const int8_t* key, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(key[i]);
}

/// sums[r][token ..] += query . key[r] over a slice of F, for kVectors vectors of tokens.
template <int kLanes, int kVectors>
MSA_INLINE void add_products(const float* query, int64_t num_tokens, const float (*key)[kSlice],
                             int64_t count, float (*sums)[kTileTokens], int64_t token) {
  using Vector = Floats<kLanes>;
  Vector sum[kRows<kLanes>][kVectors];
  for (int64_t r = 0; r < kRows<kLanes>; ++r) {
    for (int v = 0; v < kVectors; ++v) sum[r][v] = load<Vector>(sums[r] + token + v * kLanes);
  }
  for (int64_t i = 0; i < count; ++i) {
    Vector q[kVectors];
    for (int v = 0; v < kVectors; ++v) q[v] = load<Vector>(query + i * num_tokens + v * kLanes);
    for (int64_t r = 0; r < kRows<kLanes>; ++r) {
      for (int v = 0; v < kVectors; ++v) sum[r][v] += key[r][i] * q[v];
    }
  }
  for (int64_t r = 0; r < kRows<kLanes>; ++r) {
    for (int v = 0; v < kVectors; ++v) store(sum[r][v], sums[r] + token + v * kLanes);
  }
}

template <int kLanes, typename Key>
MSA_INLINE void score_rows(const RouteScoresParams& p, const PackedQuery& packed, int64_t first,
                           int64_t count, float* out) {
  alignas(64) float key[kRows<kLanes>][kSlice];
  const Key* rows = static_cast<const Key*>(p.key);
  std::fill_n(out, count, -std::numeric_limits<float>::infinity());
  for (int64_t token = 0; token < packed.num_tokens; token += kTileTokens) {
    const int64_t num_tokens = std::min(kTileTokens, packed.num_tokens - token);
    const float* query = reinterpret_cast<const float*>(packed.values) + token * p.key_dim;
    alignas(64) float sums[kRows<kLanes>][kTileTokens] = {};
    for (int64_t begin = 0; begin < p.key_dim; begin += kSlice) {
      const int64_t length = std::min(kSlice, p.key_dim - begin);
      for (int64_t r = 0; r < kRows<kLanes>; ++r) {
        const int64_t row = first + std::min(r, count - 1);
        const Key* slice = rows + row * p.key_dim + begin;
        widen_slice(slice, length, key[r]);
        fetch_ahead(slice, length, kRows<kLanes> * p.key_dim);
      }
      const float* part = query + begin * num_tokens;
      int64_t t = 0;
      for (; t + kMaxVectors * kLanes <= num_tokens; t += kMaxVectors * kLanes) {
        add_products<kLanes, kMaxVectors>(part + t, num_tokens, key, length, sums, t);
      }
      for (; t < num_tokens; t += kLanes) {
        add_products<kLanes, 1>(part + t, num_tokens, key, length, sums, t);
      }
    }
    for (int64_t r = 0; r < count; ++r) {
      Floats<kLanes> best = load<Floats<kLanes>>(sums[r]);
      for (int64_t t = kLanes; t < num_tokens; t += kLanes) {
        best = larger(load<Floats<kLanes>>(sums[r] + t), best);
      }
      out[r] = std::max(out[r], largest_of(best));
    }
  }
}

template <int kLanes>
MSA_INLINE void score_lanes(const RouteScoresParams& p, const PackedQuery& packed, int64_t first,
                            int64_t num_chunks, float* best, float* /*reach*/) {
  for (int64_t c = 0; c < num_chunks; c += kRows<kLanes>) {
    const int64_t count = std::min(kRows<kLanes>, num_chunks - c);
    float* out = best + c;
    if (p.key_type == NumberType::kFloat32) {
      score_rows<kLanes, float>(p, packed, first + c, count, out);
    } else if (p.key_type == NumberType::kBFloat16) {
      score_rows<kLanes, BFloat16>(p, packed, first + c, count, out);
    } else {
      score_rows<kLanes, int8_t>(p, packed, first + c, count, out);
      for (int64_t r = 0; r < count; ++r) out[r] *= p.key_scale[first + c + r];
    }
  }
}

MSA_VECTOR_FUNCTION(score,
                    (const RouteScoresParams& params, const PackedQuery& packed, int64_t first,
                     int64_t count, float* out, float* reach),
                    (params, packed, first, count, out, reach))

}  // namespace

const RoutePath& route_path_wide() {
  static constexpr RoutePath path{"wide", packed_bytes, pack, score, true};
  return path;
}

}  // namespace msa::kernels
