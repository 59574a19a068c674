#include <bit>
#include <cstring>

#include "msa/kernels/gemv.h"
#include "msa/kernels/vector_math.h"

// Vectors are handed over by functions that are always inlined: no call passes them.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace msa::kernels {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kRows = 4;  // rows that share the loads of x

using Floats = float __attribute__((vector_size(64)));
using Words = uint32_t __attribute__((vector_size(64)));

template <typename Vector>
MSA_INLINE Vector load(const void* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

MSA_INLINE float sum_of(const Floats& lanes) {
  float halves[8];
  for (int i = 0; i < 8; ++i) halves[i] = lanes[i] + lanes[i + 8];
  return ((halves[0] + halves[4]) + (halves[1] + halves[5])) +
         ((halves[2] + halves[6]) + (halves[3] + halves[7]));
}

/// sum[r] += whole vectors of kRows rows; returns the first column that is left.
MSA_INLINE int64_t add_products(const float* const* rows, const float* x, int64_t count,
                                Floats* sum) {
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    const auto part = load<Floats>(x + k);
    for (int64_t r = 0; r < kRows; ++r) sum[r] += load<Floats>(rows[r] + k) * part;
  }
  return k;
}

/// Pairs of bfloat16 as words: the even one in the low half, the odd one in the high half.
MSA_INLINE int64_t add_products(const BFloat16* const* rows, const float* x, int64_t count,
                                Floats* sum) {
  int64_t k = 0;
  for (; k + 2 * kLanes <= count; k += 2 * kLanes) {
    const auto low = load<Floats>(x + k);
    const auto high = load<Floats>(x + k + kLanes);
    const Floats even = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20,
                                                22, 24, 26, 28, 30);
    const Floats odd = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23,
                                               25, 27, 29, 31);
    for (int64_t r = 0; r < kRows; ++r) {
      const auto pairs = load<Words>(rows[r] + k);
      sum[r] += reinterpret_cast<Floats>(pairs << 16) * even;
      sum[r] += reinterpret_cast<Floats>(pairs & 0xffff0000U) * odd;
    }
  }
  return k;
}

template <typename Number>
MSA_INLINE void multiply(const GemvParams& p, int64_t first, int64_t end) {
  const auto* weight = static_cast<const Number*>(p.weight);
  for (int64_t row = first; row < end; row += kRows) {
    const int64_t count = end - row < kRows ? end - row : kRows;
    const Number* rows[kRows];
    for (int64_t r = 0; r < kRows; ++r) {
      rows[r] = weight + (row + (r < count ? r : count - 1)) * p.num_columns;
    }
    Floats sum[kRows] = {};
    const int64_t left = add_products(rows, p.x, p.num_columns, sum);
    for (int64_t r = 0; r < count; ++r) {
      float total = sum_of(sum[r]);
      for (int64_t k = left; k < p.num_columns; ++k) total += widen(rows[r][k]) * p.x[k];
      p.y[row + r] = p.adds ? p.y[row + r] + total : total;
    }
  }
}

}  // namespace

MSA_VECTOR_CODE void gemv(const GemvParams& p, int64_t first, int64_t end) {
  if (p.type == NumberType::kBFloat16) {
    multiply<BFloat16>(p, first, end);
  } else {
    multiply<float>(p, first, end);
  }
}

}  // namespace msa::kernels
