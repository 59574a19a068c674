#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/route_tile.h"
#include "msa/kernels/vector_code.h"
#include "msa/kernels/vector_math.h"

// GCC 12 takes the undefined sources of its own masked intrinsics for ours (PR 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#if defined(__x86_64__)
#include <immintrin.h>

namespace msa::kernels {
namespace {

// For parts of both.
#define MSA_AVX512_PART __attribute__((target("avx512f"))) MSA_INLINE
#define MSA_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define MSA_AVX512_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

constexpr int64_t kRows = 8;  // chunks whose sums share the registers with kTileTokens tokens
constexpr int64_t kGroups = kTileChunks / kRows;
constexpr int64_t kSliceSteps =
    128;  // steps of the queries that stay in the first cache: 24 KiB of 48 tokens

/// Steps of four bytes of a key: as many values of F as one instruction multiplies for one token.
template <int kStep>
constexpr int64_t steps_of(int64_t key_dim) {
  return (key_dim + kStep - 1) / kStep;
}

template <int kStep>
int64_t packed_bytes(int64_t num_tokens, int64_t key_dim) {
  return 2 * padded_tokens(num_tokens) * steps_of<kStep>(key_dim) * 4;
}

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

/// From rounded rows [padded tokens][steps] words to tiles of kTileTokens tokens, each
/// [steps][tokens] words.
void transpose(const uint32_t* rows, int64_t num_tokens, int64_t steps, uint32_t flips,
               std::byte* values) {
  auto* out = reinterpret_cast<uint32_t*>(values);
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < num_tokens; first += kTokenLanes) {
    const int64_t tile = first / kTileTokens * kTileTokens;
    const int64_t width = std::min(kTileTokens, num_tokens - tile);
    uint32_t* column = out + tile * steps + (first - tile);
    for (int64_t i = 0; i < steps; ++i) {
      for (int64_t t = 0; t < kTokenLanes; ++t) {
        column[i * width + t] = rows[(first + t) * steps + i] ^ flips;
      }
    }
  }
}

template <int kStep>
MSA_INLINE double value_of(const std::byte* row, int64_t i, float scale) {
  if constexpr (kStep == 2) {
    return widen(reinterpret_cast<const BFloat16*>(row)[i]);
  } else {
    return static_cast<double>(reinterpret_cast<const int8_t*>(row)[i]) * scale;
  }
}

/// More than what squares and products lose below the range of float32.
constexpr double kShortest = 0x1p-62;

/// How far a scanned score of one token may be from the one in float32, for a key of length 1:
/// |(query - rounded) . key| <= |query - rounded| |key| (Cauchy-Schwarz), and each of two sums of F
/// products is off by up to F 2^-24 |query| |key|.
template <int kStep>
MSA_AVX512_CODE float error_of(const float* query, const std::byte* row, float scale, int64_t dim) {
  double missed = 0;
  double squares = 0;
#pragma omp simd reduction(+ : missed, squares)
  for (int64_t i = 0; i < dim; ++i) {
    const double value = query[i];
    const double difference = value - value_of<kStep>(row, i, scale);
    missed += difference * difference;
    squares += value * value;
  }
  const auto count = static_cast<double>(dim);
  return static_cast<float>(std::sqrt(missed) + (count + 8) * 0x1p-23 * std::sqrt(squares) +
                            std::sqrt(count) * kShortest);
}

/// Rounds the queries, token by token, into the second half of the packed memory; the last token
/// fills the padding.
template <int kStep>
uint32_t* round_rows(const RouteScoresParams& p, NumberType type, PackedQuery& packed) {
  const int64_t row_bytes = steps_of<kStep>(p.key_dim) * 4;
  std::byte* rows = packed.values + packed.num_tokens * row_bytes;
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < packed.num_tokens; ++t) {
    const float* query = p.query + std::min(t, p.num_tokens - 1) * p.key_dim;
    std::byte* row = rows + t * row_bytes;
    std::memset(row + row_bytes - 4, 0, 4);
    quantize_rows({.row = query,
                   .num_rows = 1,
                   .dim = p.key_dim,
                   .type = type,
                   .out = row,
                   .scale = packed.token_scale + t});
    packed.token_error[t] = error_of<kStep>(query, row, packed.token_scale[t], p.key_dim);
  }
  return reinterpret_cast<uint32_t*>(rows);
}

void pack_bf16(const RouteScoresParams& p, PackedQuery& packed) {
  const uint32_t* rows = round_rows<2>(p, NumberType::kBFloat16, packed);
  transpose(rows, packed.num_tokens, steps_of<2>(p.key_dim), 0, packed.values);
}

/// Queries as unsigned bytes around 128, one scale a token.
void pack_int8(const RouteScoresParams& p, PackedQuery& packed) {
  const uint32_t* rows = round_rows<4>(p, NumberType::kInt8, packed);
  transpose(rows, packed.num_tokens, steps_of<4>(p.key_dim), 0x80808080U, packed.values);
}

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

/// Rows of one group of chunks; places past the end repeat the last chunk.
struct RowSet {
  const std::byte* rows[kRows];

  RowSet(const RouteScoresParams& p, int64_t first, int64_t count, int64_t group,
         int64_t row_bytes) {
    const auto* keys = static_cast<const std::byte*>(p.key);
    for (int64_t r = 0; r < kRows; ++r) {
      rows[r] = keys + (first + std::min(group * kRows + r, count - 1)) * row_bytes;
    }
  }
};

/// Calls add(query, rows, steps, sums) for all groups of chunks, slice by slice of F; sums are
/// [kGroups][kRows][kVectors] vectors.
template <int kStep, int kVectors>
inline void for_slices(const RouteScoresParams& p, const std::byte* query, int64_t first,
                       int64_t count, int64_t value_bytes, void* sums,
                       void (*add)(const std::byte*, const std::byte* const*, int64_t, void*,
                                   const Ahead&)) {
  const int64_t row_bytes = p.key_dim * value_bytes;
  const auto sums_of = [&](int64_t group) {
    return static_cast<std::byte*>(sums) + group * kRows * kVectors * 64;
  };
  const int64_t whole = p.key_dim / kStep;
  const int64_t groups = (count + kRows - 1) / kRows;
  for (int64_t begin = 0; begin < whole; begin += kSliceSteps) {
    const int64_t steps = std::min(kSliceSteps, whole - begin);
    for (int64_t g = 0; g < groups; ++g) {
      RowSet set(p, first, count, g, row_bytes);
      for (auto& row : set.rows) row += 4 * begin;
      add(query + begin * kVectors * 64, set.rows, steps, sums_of(g),
          {set.rows[0] + kTileChunks * row_bytes, row_bytes});
    }
  }
  if (whole * kStep == p.key_dim) return;
  for (int64_t g = 0; g < groups; ++g) {
    const RowSet set(p, first, count, g, row_bytes);
    const LastStep last(set.rows, whole, (p.key_dim - whole * kStep) * value_bytes);
    add(query + whole * kVectors * 64, last.rows, 1, sums_of(g), {last.rows[0], 0});
  }
}

/// The best scores of the chunks of a tile, by lanes of tokens.
struct BestScores {
  __m512 scanned[kTileChunks];
  __m512 reach[kTileChunks];  // with the errors of the tokens

  MSA_AVX512_PART explicit BestScores(int64_t count) {
    std::fill_n(scanned, count, _mm512_set1_ps(-std::numeric_limits<float>::infinity()));
    std::fill_n(reach, count, _mm512_set1_ps(-std::numeric_limits<float>::infinity()));
  }
  MSA_AVX512_PART void add(int64_t c, __m512 score, __m512 error, float length) {
    scanned[c] = _mm512_max_ps(scanned[c], score);
    reach[c] = _mm512_max_ps(reach[c], _mm512_fmadd_ps(error, _mm512_set1_ps(length), score));
  }
};

MSA_AVX512_BF16 inline __m512 add_squares(__m512 sum, __mmask32 lanes, const BFloat16* values) {
  const auto part = reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi16(lanes, values));
  return _mm512_dpbf16_ps(sum, part, part);
}

/// length[c] is at least the length of keys[c].
MSA_AVX512_BF16 void measure_keys(const BFloat16* keys, int64_t count, int64_t dim, float* length) {
  const auto most = static_cast<float>(1 + static_cast<double>(dim) * 0x1p-23);
  const auto least = static_cast<float>(std::sqrt(static_cast<double>(dim)) * kShortest);
  for (int64_t c = 0; c < count; ++c) {
    const BFloat16* row = keys + c * dim;
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    int64_t i = 0;
    for (; i + 64 <= dim; i += 64) {
      sum[0] = add_squares(sum[0], ~__mmask32{0}, row + i);
      sum[1] = add_squares(sum[1], ~__mmask32{0}, row + i + 32);
    }
    for (; i < dim; i += 32) {
      const int64_t lanes = std::min<int64_t>(32, dim - i);
      sum[0] = add_squares(sum[0], ~__mmask32{0} >> (32 - lanes), row + i);
    }
    length[c] = std::sqrt(_mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1]))) * most + least;
  }
}

template <int kVectors>
MSA_AVX512_BF16 void score_bf16_tile(const RouteScoresParams& p, const std::byte* query,
                                     const float* token_error, const float* length, int64_t first,
                                     int64_t count, BestScores& best) {
  __m512 sums[kGroups][kRows][kVectors];
  std::memset(static_cast<void*>(sums), 0, sizeof sums);
  for_slices<2, kVectors>(p, query, first, count, 2, sums, &add_bf16<kVectors>);
  for (int v = 0; v < kVectors; ++v) {
    const __m512 error = _mm512_loadu_ps(token_error + v * kTokenLanes);
    for (int64_t c = 0; c < count; ++c) {
      best.add(c, sums[c / kRows][c % kRows][v], error, length[c]);
    }
  }
}

MSA_AVX512_BF16 void score_bf16(const RouteScoresParams& p, const PackedQuery& packed,
                                int64_t first, int64_t count, float* out, float* reach) {
  float length[kTileChunks];
  measure_keys(static_cast<const BFloat16*>(p.key) + first * p.key_dim, count, p.key_dim, length);
  BestScores best(count);
  for (int64_t token = 0; token < packed.num_tokens; token += kTileTokens) {
    const int64_t vectors = std::min(kTileTokens, packed.num_tokens - token) / kTokenLanes;
    const std::byte* query = packed.values + token * steps_of<2>(p.key_dim) * 4;
    const float* error = packed.token_error + token;
    if (vectors == 3) {
      score_bf16_tile<3>(p, query, error, length, first, count, best);
    } else if (vectors == 2) {
      score_bf16_tile<2>(p, query, error, length, first, count, best);
    } else {
      score_bf16_tile<1>(p, query, error, length, first, count, best);
    }
  }
  for (int64_t c = 0; c < count; ++c) {
    out[c] = _mm512_reduce_max_ps(best.scanned[c]);
    reach[c] = _mm512_reduce_max_ps(best.reach[c]);
  }
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

/// What the scores of up to kTileChunks keys need to know of them, in steps of their scales.
struct KeySums {
  int32_t sum[kTileChunks];
  float length[kTileChunks];  // at least

  MSA_AVX512_VNNI KeySums(const int8_t* keys, int64_t count, int64_t dim) {
    __m512i squares[kTileChunks];
    for (int64_t c = 0; c < count; ++c) {
      const int8_t* row = keys + c * dim;
      __m512i sums = _mm512_setzero_si512();
      squares[c] = _mm512_setzero_si512();
      int64_t i = 0;
      for (; i + 64 <= dim; i += 64) add(_mm512_loadu_si512(row + i), sums, squares[c]);
      if (i < dim) {
        const __mmask64 lanes = ~__mmask64{0} >> (64 - (dim - i));
        add(_mm512_maskz_loadu_epi8(lanes, row + i), sums, squares[c]);
      }
      sum[c] = _mm512_reduce_add_epi32(sums);
    }
    for (int64_t c = 0; c < count; ++c) {
      length[c] = static_cast<float>(_mm512_reduce_add_epi32(squares[c]));
    }
    // A square of -128 was taken for 128 * 127.
    for (int64_t c = 0; c < count; ++c) length[c] = 1.004F * std::sqrt(length[c]);
  }

 private:
  MSA_AVX512_VNNI MSA_INLINE static void add(__m512i keys, __m512i& sums, __m512i& squares) {
    const __m512i size = _mm512_abs_epi8(keys);
    sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(1), keys);
    squares = _mm512_dpbusd_epi32(squares, size, _mm512_min_epu8(size, _mm512_set1_epi8(127)));
  }
};

template <int kVectors>
MSA_AVX512_VNNI void score_int8_tile(const RouteScoresParams& p, const std::byte* query,
                                     const KeySums& keys, const float* token_scale,
                                     const float* token_error, int64_t first, int64_t count,
                                     BestScores& best) {
  __m512i sums[kGroups][kRows][kVectors];
  for (int64_t c = 0; c < kTileChunks; ++c) {
    // sum of (q + 128) k = q . k + 128 sum of k
    std::fill_n(sums[c / kRows][c % kRows], kVectors,
                _mm512_set1_epi32(-128 * keys.sum[std::min(c, count - 1)]));
  }
  for_slices<4, kVectors>(p, query, first, count, 1, sums, &add_int8<kVectors>);
  for (int v = 0; v < kVectors; ++v) {
    const __m512 scale = _mm512_loadu_ps(token_scale + v * kTokenLanes);
    const __m512 error = _mm512_loadu_ps(token_error + v * kTokenLanes);
    for (int64_t c = 0; c < count; ++c) {
      const __m512 score = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[c / kRows][c % kRows][v]), scale);
      best.add(c, score, error, keys.length[c]);
    }
  }
}

MSA_AVX512_VNNI void score_int8(const RouteScoresParams& p, const PackedQuery& packed,
                                int64_t first, int64_t count, float* out, float* reach) {
  const KeySums keys(static_cast<const int8_t*>(p.key) + first * p.key_dim, count, p.key_dim);
  BestScores best(count);
  for (int64_t token = 0; token < packed.num_tokens; token += kTileTokens) {
    const int64_t vectors = std::min(kTileTokens, packed.num_tokens - token) / kTokenLanes;
    const std::byte* query = packed.values + token * steps_of<4>(p.key_dim) * 4;
    const float* scale = packed.token_scale + token;
    const float* error = packed.token_error + token;
    if (vectors == 3) {
      score_int8_tile<3>(p, query, keys, scale, error, first, count, best);
    } else if (vectors == 2) {
      score_int8_tile<2>(p, query, keys, scale, error, first, count, best);
    } else {
      score_int8_tile<1>(p, query, keys, scale, error, first, count, best);
    }
  }
  for (int64_t c = 0; c < count; ++c) {
    const float scale = p.key_scale[first + c];
    out[c] = _mm512_reduce_max_ps(best.scanned[c]) * scale;
    reach[c] = _mm512_reduce_max_ps(best.reach[c]) * scale + std::numeric_limits<float>::min();
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
