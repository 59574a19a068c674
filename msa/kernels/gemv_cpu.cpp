#include "msa/kernels/gemv.h"
#include "msa/kernels/vector_lanes.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

constexpr int64_t kRows = 4;  // rows that share the loads of x

/// sum[r] += whole vectors of kRows rows; returns the first column that is left.
template <int kLanes>
MSA_INLINE int64_t add_products(const float* const* rows, const float* x, int64_t count,
                                Floats<kLanes>* sum) {
  using Vector = Floats<kLanes>;
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    const auto part = load<Vector>(x + k);
    for (int64_t r = 0; r < kRows; ++r) sum[r] += load<Vector>(rows[r] + k) * part;
  }
  return k;
}

/// Pairs of bfloat16 as words: the even one in the low half, the odd one in the high half.
template <int kLanes>
MSA_INLINE int64_t add_products(const BFloat16* const* rows, const float* x, int64_t count,
                                Floats<kLanes>* sum) {
  using Vector = Floats<kLanes>;
  int64_t k = 0;
  for (; k + 2 * kLanes <= count; k += 2 * kLanes) {
    const auto low = load<Vector>(x + k);
    const auto high = load<Vector>(x + k + kLanes);
    const Vector even = every_other<false>(low, high);
    const Vector odd = every_other<true>(low, high);
    for (int64_t r = 0; r < kRows; ++r) {
      const auto pairs = load<Words<kLanes>>(rows[r] + k);
      sum[r] += reinterpret_cast<Vector>(pairs << 16) * even;
      sum[r] += reinterpret_cast<Vector>(pairs & 0xffff0000U) * odd;
    }
  }
  return k;
}

template <int kLanes, typename Number>
MSA_INLINE void multiply(const GemvParams& p, int64_t first, int64_t end) {
  const auto* weight = static_cast<const Number*>(p.weight);
  for (int64_t row = first; row < end; row += kRows) {
    const int64_t count = end - row < kRows ? end - row : kRows;
    const Number* rows[kRows];
    for (int64_t r = 0; r < kRows; ++r) {
      rows[r] = weight + (row + (r < count ? r : count - 1)) * p.num_columns;
    }
    Floats<kLanes> sum[kRows] = {};
    const int64_t left = add_products<kLanes>(rows, p.x, p.num_columns, sum);
    for (int64_t r = 0; r < count; ++r) {
      float total = sum_of(sum[r]);
      for (int64_t k = left; k < p.num_columns; ++k) total += widen(rows[r][k]) * p.x[k];
      p.y[row + r] = p.adds ? p.y[row + r] + total : total;
    }
  }
}

template <int kLanes>
MSA_INLINE void gemv_lanes(const GemvParams& p, int64_t first, int64_t end) {
  if (p.type == NumberType::kBFloat16) {
    multiply<kLanes, BFloat16>(p, first, end);
  } else {
    multiply<kLanes, float>(p, first, end);
  }
}

}  // namespace

MSA_VECTOR_FUNCTION(gemv, (const GemvParams& params, int64_t first, int64_t end),
                    (params, first, end))

}  // namespace msa::kernels
