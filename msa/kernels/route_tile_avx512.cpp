#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "msa/base/bfloat16.h"
#include "msa/kernels/route_tile.h"
#include "msa/kernels/vector_code.h"

// GCC 12 takes the undefined sources of its own masked intrinsics for ours (PR 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#if defined(__x86_64__)
#include <immintrin.h>

namespace msa::kernels {
namespace {

#define MSA_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define MSA_AVX512_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

constexpr int64_t kRows = kTileChunks;

/// Values of F that one instruction multiplies for one token.
template <int kStep>
int64_t packed_bytes(int64_t num_tokens, int64_t key_dim) {
  const int64_t steps = (key_dim + kStep - 1) / kStep;
  return padded_tokens(num_tokens) * steps * 4;
}

/// The 4 bytes of a key at step i; the last step of an odd length is filled with zeros.
template <typename Key>
inline int32_t load_step(const Key* row, int64_t i, int64_t dim) {
  constexpr int64_t kStep = 4 / sizeof(Key);
  int32_t bits = 0;
  const int64_t left = dim - i * kStep;
  std::memcpy(&bits, row + i * kStep, static_cast<size_t>(std::min(left, kStep)) * sizeof(Key));
  return bits;
}

/// Tiles of kTileTokens tokens, each [steps][tokens][kStep].
template <typename Value, typename Round>
void pack_tiles(const RouteScoresParams& p, PackedQuery& packed, const Round& round) {
  constexpr int64_t kStep = 4 / sizeof(Value);
  const int64_t steps = (p.key_dim + kStep - 1) / kStep;
  auto* out = reinterpret_cast<Value*>(packed.values);
  for (int64_t first = 0; first < packed.num_tokens; first += kTileTokens) {
    const int64_t count = std::min(kTileTokens, packed.num_tokens - first);
    for (int64_t i = 0; i < steps; ++i) {
      for (int64_t t = 0; t < count; ++t) {
        const int64_t token = std::min(first + t, p.num_tokens - 1);
        for (int64_t k = 0; k < kStep; ++k) {
          const int64_t column = i * kStep + k;
          const float value = column < p.key_dim ? p.query[token * p.key_dim + column] : 0.0F;
          *out++ = round(value, first + t);
        }
      }
    }
  }
}

void pack_bf16(const RouteScoresParams& p, PackedQuery& packed) {
  pack_tiles<uint16_t>(p, packed, [](float value, int64_t) { return to_bfloat16(value).bits; });
}

/// Queries as unsigned bytes around 128, one scale a token.
void pack_int8(const RouteScoresParams& p, PackedQuery& packed) {
  for (int64_t t = 0; t < packed.num_tokens; ++t) {
    const float* query = p.query + std::min(t, p.num_tokens - 1) * p.key_dim;
    float largest = 0;
    for (int64_t i = 0; i < p.key_dim; ++i) largest = std::max(largest, std::fabs(query[i]));
    packed.token_scale[t] = largest / 127.0F;
  }
  pack_tiles<uint8_t>(p, packed, [&](float value, int64_t t) {
    const float scale = packed.token_scale[t];
    const float scaled = scale > 0 ? std::nearbyint(value / scale) : 0.0F;
    return static_cast<uint8_t>(static_cast<int>(scaled) + 128);
  });
}

template <int kVectors>
MSA_AVX512_BF16 inline void score_bf16_tile(const std::byte* query, const uint16_t* const* rows,
                                            int64_t dim, __m512* best) {
  __m512 sum[kRows][kVectors];
  for (int64_t r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_ps();
  }
  const int64_t whole = dim / 2;
  const auto step = [&](int64_t i, auto load) MSA_AVX512_BF16 __attribute__((always_inline)) {
    __m512bh q[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      q[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(query + (i * kVectors + v) * 64));
    }
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const auto key = reinterpret_cast<__m512bh>(_mm512_set1_epi32(load(rows[r])));
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], q[v], key);
    }
  };
  for (int64_t i = 0; i < whole; ++i) {
    step(
        i, [i](const uint16_t* row) __attribute__((always_inline)) {
          int32_t bits;
          std::memcpy(&bits, row + 2 * i, 4);
          return bits;
        });
  }
  if (dim % 2 != 0) {
    step(whole, [&](const uint16_t* row) { return load_step(row, whole, dim); });
  }
  for (int64_t r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) best[r] = _mm512_max_ps(best[r], sum[r][v]);
  }
}

MSA_AVX512_BF16 void score_bf16(const RouteScoresParams& p, const PackedQuery& packed,
                                int64_t first, int64_t count, float* out) {
  const uint16_t* rows[kRows];
  __m512 best[kRows];
  const auto* keys = static_cast<const uint16_t*>(p.key);
  for (int64_t r = 0; r < kRows; ++r) {
    rows[r] = keys + (first + std::min(r, count - 1)) * p.key_dim;
    best[r] = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  }
  const int64_t steps = (p.key_dim + 1) / 2;
  for (int64_t token = 0; token < packed.num_tokens; token += kTileTokens) {
    const int64_t vectors = std::min(kTileTokens, packed.num_tokens - token) / kTokenLanes;
    const std::byte* query = packed.values + token * steps * 4;
    if (vectors == 3) {
      score_bf16_tile<3>(query, rows, p.key_dim, best);
    } else if (vectors == 2) {
      score_bf16_tile<2>(query, rows, p.key_dim, best);
    } else {
      score_bf16_tile<1>(query, rows, p.key_dim, best);
    }
  }
  for (int64_t r = 0; r < count; ++r) out[r] = _mm512_reduce_max_ps(best[r]);
}

template <int kVectors>
MSA_AVX512_VNNI inline void score_int8_tile(const std::byte* query, const int8_t* const* rows,
                                            const int32_t* key_sum, const float* token_scale,
                                            int64_t dim, __m512* best) {
  __m512i sum[kRows][kVectors];
  for (int64_t r = 0; r < kRows; ++r) {
    // sum of (q + 128) k = q . k + 128 sum of k
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_set1_epi32(-128 * key_sum[r]);
  }
  const int64_t whole = dim / 4;
  const auto step = [&](int64_t i, auto load) MSA_AVX512_VNNI __attribute__((always_inline)) {
    __m512i q[kVectors];
    for (int v = 0; v < kVectors; ++v) q[v] = _mm512_loadu_si512(query + (i * kVectors + v) * 64);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const __m512i key = _mm512_set1_epi32(load(rows[r]));
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], q[v], key);
    }
  };
  for (int64_t i = 0; i < whole; ++i) {
    step(
        i, [i](const int8_t* row) __attribute__((always_inline)) {
          int32_t bits;
          std::memcpy(&bits, row + 4 * i, 4);
          return bits;
        });
  }
  if (dim % 4 != 0) {
    step(whole, [&](const int8_t* row) { return load_step(row, whole, dim); });
  }
  for (int v = 0; v < kVectors; ++v) {
    const __m512 scale = _mm512_loadu_ps(token_scale + v * kTokenLanes);
    for (int64_t r = 0; r < kRows; ++r) {
      best[r] = _mm512_max_ps(best[r], _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][v]), scale));
    }
  }
}

MSA_AVX512_VNNI int32_t sum_of(const int8_t* row, int64_t dim) {
  __m512i sum = _mm512_setzero_si512();
  const __m512i ones = _mm512_set1_epi8(1);
  int64_t i = 0;
  for (; i + 64 <= dim; i += 64) {
    sum = _mm512_dpbusd_epi32(sum, ones, _mm512_loadu_si512(row + i));
  }
  int32_t total = _mm512_reduce_add_epi32(sum);
  for (; i < dim; ++i) total += row[i];
  return total;
}

MSA_AVX512_VNNI void score_int8(const RouteScoresParams& p, const PackedQuery& packed,
                                int64_t first, int64_t count, float* out) {
  const int8_t* rows[kRows];
  int32_t key_sum[kRows];
  __m512 best[kRows];
  const auto* keys = static_cast<const int8_t*>(p.key);
  for (int64_t r = 0; r < kRows; ++r) {
    rows[r] = keys + (first + std::min(r, count - 1)) * p.key_dim;
    key_sum[r] = sum_of(rows[r], p.key_dim);
    best[r] = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  }
  const int64_t steps = (p.key_dim + 3) / 4;
  for (int64_t token = 0; token < packed.num_tokens; token += kTileTokens) {
    const int64_t vectors = std::min(kTileTokens, packed.num_tokens - token) / kTokenLanes;
    const std::byte* query = packed.values + token * steps * 4;
    const float* scale = packed.token_scale + token;
    if (vectors == 3) {
      score_int8_tile<3>(query, rows, key_sum, scale, p.key_dim, best);
    } else if (vectors == 2) {
      score_int8_tile<2>(query, rows, key_sum, scale, p.key_dim, best);
    } else {
      score_int8_tile<1>(query, rows, key_sum, scale, p.key_dim, best);
    }
  }
  for (int64_t r = 0; r < count; ++r) {
    out[r] = _mm512_reduce_max_ps(best[r]) * p.key_scale[first + r];
  }
}

}  // namespace

const RoutePath* route_path_bf16() {
  static constexpr RoutePath path{"avx512-bf16", packed_bytes<2>, pack_bf16, score_bf16, false};
  static const bool is_there =
      __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw");
  return is_there ? &path : nullptr;
}

const RoutePath* route_path_int8() {
  static constexpr RoutePath path{"avx512-vnni", packed_bytes<4>, pack_int8, score_int8, false};
  static const bool is_there =
      __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw");
  return is_there ? &path : nullptr;
}

}  // namespace msa::kernels

#else

namespace msa::kernels {
const RoutePath* route_path_bf16() { return nullptr; }
const RoutePath* route_path_int8() { return nullptr; }
}  // namespace msa::kernels

#endif
