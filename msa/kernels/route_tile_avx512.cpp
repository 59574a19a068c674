#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "msa/kernels/route_query.h"
#include "msa/kernels/vector_lanes.h"
#include "msa/kernels/vector_math.h"

// GCC 12 takes the undefined sources of its own masked intrinsics for ours (PR 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

// Clang, which is for fuzzers and coverage, takes no wide vectors out of the pieces below.
#if defined(__x86_64__) && !defined(__clang__)
#include <immintrin.h>

namespace msa::kernels {
namespace {

// For parts of both.
#define MSA_AVX512_PART __attribute__((target("avx512f"))) MSA_INLINE
#define MSA_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define MSA_AVX512_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

constexpr int64_t kRows = kTileChunks;  // their sums share the registers with kTileTokens tokens
constexpr int64_t kSliceSteps =
    128;  // steps of the queries that stay in the first cache: 24 KiB of 48 tokens

inline int32_t load_word(const std::byte* from) {
  int32_t bits = 0;
  std::memcpy(&bits, from, 4);
  return bits;
}

/// The same part of the next tile's rows: asked for a line every other step, so that it is in the
/// second cache in time.
struct Ahead {
  const std::byte* first;
  int64_t row_bytes;

  void fetch(int64_t step) const {
    __builtin_prefetch(first + (step / 2 % kRows) * row_bytes + step / (2 * kRows) * 64, 0, 2);
  }
};

/// The last, partial step of every row, filled up with zeros.
struct LastStep {
  std::byte words[kRows][4] = {};
  const std::byte* rows[kRows];

  LastStep(const std::byte* const* from, int64_t step, int64_t num_bytes) {
    for (int64_t r = 0; r < kRows; ++r) {
      std::memcpy(words[r], from[r] + 4 * step, static_cast<size_t>(num_bytes));
      rows[r] = words[r];
    }
  }
};

/// sum[r] += query . rows[r] over `steps` steps, for all chunks and kVectors vectors of tokens. The
/// sums stay in registers.
template <int kVectors>
MSA_AVX512_BF16 void add_bf16(const std::byte* query, const std::byte* const* rows, int64_t steps,
                              void* memory, const Ahead& ahead) {
  auto* sums = static_cast<__m512(*)[kVectors]>(memory);
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) sum[r][v] = sums[r][v];
  }
  const std::byte* row[kRows] = {rows[0], rows[1], rows[2], rows[3],
                                 rows[4], rows[5], rows[6], rows[7]};
  for (int64_t i = 0; i < steps; ++i) {
    ahead.fetch(i);
    __m512bh q[kVectors];
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      q[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(query + (i * kVectors + v) * 64));
    }
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const auto key = reinterpret_cast<__m512bh>(_mm512_set1_epi32(load_word(row[r] + 4 * i)));
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], q[v], key);
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) sums[r][v] = sum[r][v];
  }
}

/// The keys of a tile; places past the end repeat the last chunk.
struct RowSet {
  const std::byte* rows[kRows];

  RowSet(const RouteScoresParams& p, int64_t first, int64_t count, int64_t row_bytes) {
    const auto* keys = static_cast<const std::byte*>(p.key);
    for (int64_t r = 0; r < kRows; ++r) {
      rows[r] = keys + (first + std::min(r, count - 1)) * row_bytes;
    }
  }
};

/// Calls add(query, rows, steps, sums), slice by slice of F; sums are [kRows][kVectors] vectors.
template <int kStep, int kVectors>
inline void add_slices(const RouteScoresParams& p, const std::byte* query, const RowSet& set,
                       int64_t value_bytes, void* sums,
                       void (*add)(const std::byte*, const std::byte* const*, int64_t, void*,
                                   const Ahead&)) {
  const int64_t row_bytes = p.key_dim * value_bytes;
  const int64_t whole = p.key_dim / kStep;
  for (int64_t begin = 0; begin < whole; begin += kSliceSteps) {
    const int64_t steps = std::min(kSliceSteps, whole - begin);
    RowSet slice = set;
    for (auto& row : slice.rows) row += 4 * begin;
    add(query + begin * kVectors * 64, slice.rows, steps, sums,
        {slice.rows[0] + kRows * row_bytes, row_bytes});
  }
  if (whole * kStep == p.key_dim) return;
  const LastStep last(set.rows, whole, (p.key_dim - whole * kStep) * value_bytes);
  add(query + whole * kVectors * 64, last.rows, 1, sums, {last.rows[0], 0});
}

/// Lane j < kTileChunks of the result folds the 16 lanes of row[j], which are used up.
template <typename Vector, typename Fold>
MSA_AVX512_PART Vector fold_tile(Vector* row, const Fold& fold) {
  const Vector twice = fold_rows<kTileChunks>(row, fold);
  return every_other<false>(twice, twice);
}

MSA_AVX512_PART void store_first(float* to, int64_t count, __m512 values) {
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1 << count) - 1), values);
}

/// The best scores of the chunks of a tile, by lanes of tokens.
struct BestScores {
  __m512 scanned[kTileChunks];
  __m512 reach[kTileChunks];  // with the errors of the tokens

  MSA_AVX512_PART BestScores() {
    std::fill_n(scanned, kTileChunks, _mm512_set1_ps(-std::numeric_limits<float>::infinity()));
    std::fill_n(reach, kTileChunks, _mm512_set1_ps(-std::numeric_limits<float>::infinity()));
  }
  template <int kVectors>
  MSA_AVX512_PART void add(int64_t c, const __m512* score, const __m512* error, float length) {
    const __m512 lengths = _mm512_set1_ps(length);
    for (int v = 0; v < kVectors; ++v) {
      scanned[c] = _mm512_max_ps(scanned[c], score[v]);
      reach[c] = _mm512_max_ps(reach[c], _mm512_fmadd_ps(error[v], lengths, score[v]));
    }
  }
};

/// length[r] is at least the length of the key rows[r].
MSA_AVX512_BF16 void measure_keys(const RowSet& set, int64_t dim, float* length) {
  const auto most = static_cast<float>(1 + static_cast<double>(dim) * 0x1p-23);
  const auto least = static_cast<float>(std::sqrt(static_cast<double>(dim)) * kShortest);
  __m512 squares[kRows];
  std::fill_n(squares, kRows, _mm512_setzero_ps());
  for (int64_t i = 0; i < dim; i += 32) {
    const __mmask32 lanes = ~__mmask32{0} >> (32 - std::min<int64_t>(32, dim - i));
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const auto part =
          reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi16(lanes, set.rows[r] + 2 * i));
      squares[r] = _mm512_dpbf16_ps(squares[r], part, part);
    }
  }
  const __m512 lengths = _mm512_sqrt_ps(fold_tile(squares, Sum()));
  store_first(length, kRows, lengths * _mm512_set1_ps(most) + _mm512_set1_ps(least));
}

template <int kVectors>
MSA_AVX512_BF16 void score_bf16_tile(const RouteScoresParams& p, const std::byte* query,
                                     const float* token_error, float* length, int64_t first,
                                     int64_t count, bool is_first, BestScores& best) {
  __m512 sums[kTileChunks][kVectors];
  std::memset(static_cast<void*>(sums), 0, sizeof sums);
  const RowSet rows(p, first, count, 2 * p.key_dim);
  add_slices<2, kVectors>(p, query, rows, 2, sums, &add_bf16<kVectors>);
  if (is_first) measure_keys(rows, p.key_dim, length);
  __m512 error[kVectors];
  for (int v = 0; v < kVectors; ++v) error[v] = _mm512_loadu_ps(token_error + v * kTokenLanes);
  for (int64_t c = 0; c < kTileChunks; ++c) {
    best.add<kVectors>(c, sums[c], error, length[c]);
  }
}

MSA_AVX512_BF16 void score_bf16(const RouteScoresParams& p, const PackedQuery& packed,
                                int64_t first, int64_t count, float* out, float* reach) {
  float length[kTileChunks];
  BestScores best;
  for (int64_t token = 0; token < packed.num_tokens; token += kTileTokens) {
    const int64_t vectors = std::min(kTileTokens, packed.num_tokens - token) / kTokenLanes;
    const std::byte* query = packed.values + token * steps_of<2>(p.key_dim) * 4;
    const float* error = packed.token_error + token;
    if (vectors == 3) {
      score_bf16_tile<3>(p, query, error, length, first, count, token == 0, best);
    } else if (vectors == 2) {
      score_bf16_tile<2>(p, query, error, length, first, count, token == 0, best);
    } else {
      score_bf16_tile<1>(p, query, error, length, first, count, token == 0, best);
    }
  }
  store_first(out, count, fold_tile(best.scanned, Largest()));
  store_first(reach, count, fold_tile(best.reach, Largest()));
}

/// As add_bf16, four values of F a step.
template <int kVectors>
MSA_AVX512_VNNI void add_int8(const std::byte* query, const std::byte* const* rows, int64_t steps,
                              void* memory, const Ahead& ahead) {
  auto* sums = static_cast<__m512i(*)[kVectors]>(memory);
  __m512i sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) sum[r][v] = sums[r][v];
  }
  const std::byte* row[kRows] = {rows[0], rows[1], rows[2], rows[3],
                                 rows[4], rows[5], rows[6], rows[7]};
  for (int64_t i = 0; i < steps; ++i) {
    ahead.fetch(i);
    __m512i q[kVectors];
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) q[v] = _mm512_loadu_si512(query + (i * kVectors + v) * 64);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const __m512i key = _mm512_set1_epi32(load_word(row[r] + 4 * i));
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], q[v], key);
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) sums[r][v] = sum[r][v];
  }
}

/// What the scores of the keys of a tile need to know of them, in steps of their scales.
struct KeySums {
  int32_t sum[kTileChunks];
  float length[kTileChunks];  // at least

  MSA_AVX512_VNNI void measure(const RowSet& set, int64_t dim) {
    __m512i sums[kRows];
    __m512i squares[kRows];
    std::fill_n(sums, kRows, _mm512_setzero_si512());
    std::fill_n(squares, kRows, _mm512_setzero_si512());
    for (int64_t i = 0; i < dim; i += 64) {
      const __mmask64 lanes = ~__mmask64{0} >> (64 - std::min<int64_t>(64, dim - i));
#pragma GCC unroll 8
      for (int64_t r = 0; r < kRows; ++r) {
        const __m512i keys = _mm512_maskz_loadu_epi8(lanes, set.rows[r] + i);
        const __m512i size = _mm512_abs_epi8(keys);
        sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_set1_epi8(1), keys);
        squares[r] =
            _mm512_dpbusd_epi32(squares[r], size, _mm512_min_epu8(size, _mm512_set1_epi8(127)));
      }
    }
    using Integers = LaneTypes<16>::Integers;
    Integers row[kRows];
    for (int64_t r = 0; r < kRows; ++r) row[r] = reinterpret_cast<Integers>(sums[r]);
    const Integers all = fold_tile(row, Sum());
    std::memcpy(sum, &all, sizeof sum);
    for (int64_t r = 0; r < kRows; ++r) row[r] = reinterpret_cast<Integers>(squares[r]);
    // A square of -128 was taken for 128 * 127.
    const __m512 squared = _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(fold_tile(row, Sum())));
    store_first(length, kRows, _mm512_set1_ps(1.004F) * _mm512_sqrt_ps(squared));
  }
};

template <int kVectors>
MSA_AVX512_VNNI void score_int8_tile(const RouteScoresParams& p, const std::byte* query,
                                     const float* token_scale, const float* token_error,
                                     int64_t first, int64_t count, bool is_first, KeySums& keys,
                                     BestScores& best) {
  __m512i sums[kTileChunks][kVectors];
  std::memset(static_cast<void*>(sums), 0, sizeof sums);
  const RowSet rows(p, first, count, p.key_dim);
  add_slices<4, kVectors>(p, query, rows, 1, sums, &add_int8<kVectors>);
  if (is_first) keys.measure(rows, p.key_dim);
  __m512 scale[kVectors];
  __m512 error[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    scale[v] = _mm512_loadu_ps(token_scale + v * kTokenLanes);
    error[v] = _mm512_loadu_ps(token_error + v * kTokenLanes);
  }
  for (int64_t c = 0; c < kTileChunks; ++c) {
    const __m512i rest = _mm512_set1_epi32(128 * keys.sum[c]);
    __m512 score[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      // q . k = sum of (q + 128) k - 128 sum of k
      score[v] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sums[c][v], rest)), scale[v]);
    }
    best.add<kVectors>(c, score, error, keys.length[c]);
  }
}

MSA_AVX512_VNNI void score_int8(const RouteScoresParams& p, const PackedQuery& packed,
                                int64_t first, int64_t count, float* out, float* reach) {
  KeySums keys;
  BestScores best;
  for (int64_t token = 0; token < packed.num_tokens; token += kTileTokens) {
    const int64_t vectors = std::min(kTileTokens, packed.num_tokens - token) / kTokenLanes;
    const std::byte* query = packed.values + token * steps_of<4>(p.key_dim) * 4;
    const float* scale = packed.token_scale + token;
    const float* error = packed.token_error + token;
    if (vectors == 3) {
      score_int8_tile<3>(p, query, scale, error, first, count, token == 0, keys, best);
    } else if (vectors == 2) {
      score_int8_tile<2>(p, query, scale, error, first, count, token == 0, keys, best);
    } else {
      score_int8_tile<1>(p, query, scale, error, first, count, token == 0, keys, best);
    }
  }
  store_first(out, count, fold_tile(best.scanned, Largest()));
  store_first(reach, count, fold_tile(best.reach, Largest()));
  for (int64_t c = 0; c < count; ++c) {
    const float scale = p.key_scale[first + c];
    out[c] *= scale;
    reach[c] = reach[c] * scale + std::numeric_limits<float>::min();
  }
}

}  // namespace

const RoutePath* route_path_bf16() {
  static constexpr RoutePath path{"avx512-bf16", packed_bytes_bf16, pack_bf16, score_bf16, false};
  static const bool is_there =
      __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw");
  return is_there ? &path : nullptr;
}

const RoutePath* route_path_int8() {
  static constexpr RoutePath path{"avx512-vnni", packed_bytes_int8, pack_int8, score_int8, false};
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
