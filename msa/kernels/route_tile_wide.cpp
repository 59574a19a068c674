#include <algorithm>
#include <limits>

#include "msa/kernels/route_tile.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

using Vector = float __attribute__((vector_size(kTokenLanes * sizeof(float))));
constexpr int64_t kRows = 4;     // chunks whose sums share the registers with kTileTokens tokens
constexpr int64_t kSlice = 256;  // values of F widened at a time

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

template <typename Key>
MSA_INLINE void widen_slice(const Key* key, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = widen(key[i]);
}

MSA_INLINE void widen_slice(const int8_t* key, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(key[i]);
}

template <int kVectors>
MSA_INLINE void add_products(const float* query, const float (*key)[kSlice], int64_t count,
                             Vector sum[kRows][3]) {
  Vector local[kRows][kVectors];
  for (int64_t r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) local[r][v] = sum[r][v];
  }
  for (int64_t i = 0; i < count; ++i) {
    const auto* q = reinterpret_cast<const Vector*>(query + i * kVectors * kTokenLanes);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) local[r][v] += key[r][i] * q[v];
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) sum[r][v] = local[r][v];
  }
}

template <typename Key>
MSA_INLINE void score_rows(const RouteScoresParams& p, const PackedQuery& packed, int64_t first,
                           int64_t count, float* out) {
  alignas(64) float key[kRows][kSlice];
  const Key* rows = static_cast<const Key*>(p.key);
  std::fill_n(out, count, -std::numeric_limits<float>::infinity());
  for (int64_t token = 0; token < packed.num_tokens; token += kTileTokens) {
    const int64_t num_vectors = std::min(kTileTokens, packed.num_tokens - token) / kTokenLanes;
    const float* query = reinterpret_cast<const float*>(packed.values) + token * p.key_dim;
    Vector sum[kRows][3] = {};
    for (int64_t begin = 0; begin < p.key_dim; begin += kSlice) {
      const int64_t length = std::min(kSlice, p.key_dim - begin);
      for (int64_t r = 0; r < kRows; ++r) {
        const int64_t row = first + std::min(r, count - 1);
        widen_slice(rows + row * p.key_dim + begin, length, key[r]);
      }
      const float* part = query + begin * num_vectors * kTokenLanes;
      if (num_vectors == 3) {
        add_products<3>(part, key, length, sum);
      } else if (num_vectors == 2) {
        add_products<2>(part, key, length, sum);
      } else {
        add_products<1>(part, key, length, sum);
      }
    }
    for (int64_t r = 0; r < count; ++r) {
      float best = out[r];
      for (int64_t v = 0; v < num_vectors; ++v) {
        for (int64_t lane = 0; lane < kTokenLanes; ++lane) best = std::max(best, sum[r][v][lane]);
      }
      out[r] = best;
    }
  }
}

MSA_VECTOR_CODE void score_four(const RouteScoresParams& p, const PackedQuery& packed,
                                int64_t first, int64_t count, float* out) {
  if (p.key_type == NumberType::kFloat32) {
    score_rows<float>(p, packed, first, count, out);
  } else if (p.key_type == NumberType::kBFloat16) {
    score_rows<BFloat16>(p, packed, first, count, out);
  } else {
    score_rows<int8_t>(p, packed, first, count, out);
    for (int64_t r = 0; r < count; ++r) out[r] *= p.key_scale[first + r];
  }
}

void score(const RouteScoresParams& p, const PackedQuery& packed, int64_t first, int64_t count,
           float* out) {
  for (int64_t r = 0; r < count; r += kRows) {
    score_four(p, packed, first + r, std::min(kRows, count - r), out + r);
  }
}

}  // namespace

const RoutePath& route_path_wide() {
  static constexpr RoutePath path{"wide", packed_bytes, pack, score, true};
  return path;
}

}  // namespace msa::kernels
