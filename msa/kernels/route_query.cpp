#include "msa/kernels/route_query.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/vector_code.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

template <int kStep>
int64_t packed_bytes(int64_t num_tokens, int64_t key_dim) {
  return 2 * padded_tokens(num_tokens) * steps_of<kStep>(key_dim) * 4;
}

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

}  // namespace

int64_t packed_bytes_bf16(int64_t num_tokens, int64_t key_dim) {
  return packed_bytes<2>(num_tokens, key_dim);
}

int64_t packed_bytes_int8(int64_t num_tokens, int64_t key_dim) {
  return packed_bytes<4>(num_tokens, key_dim);
}

void pack_bf16(const RouteScoresParams& p, PackedQuery& packed) {
  const uint32_t* rows = round_rows<2>(p, NumberType::kBFloat16, packed);
  transpose(rows, packed.num_tokens, steps_of<2>(p.key_dim), 0, packed.values);
}

void pack_int8(const RouteScoresParams& p, PackedQuery& packed) {
  const uint32_t* rows = round_rows<4>(p, NumberType::kInt8, packed);
  transpose(rows, packed.num_tokens, steps_of<4>(p.key_dim), 0x80808080U, packed.values);
}

}  // namespace msa::kernels
