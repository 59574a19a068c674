#pragma once
// Loops written once for vectors of 4, 8 or 16 floats, and what crosses the lanes of a vector.

#include <cstdint>
#include <cstring>
#include <utility>

#include "msa/kernels/vector_code.h"

// Vectors are handed over by functions that are always inlined: no call passes them.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace msa::kernels {

template <int kLanes>
struct LaneTypes;
template <>
struct LaneTypes<4> {
  using Floats = float __attribute__((vector_size(16)));
  using Words = uint32_t __attribute__((vector_size(16)));
  using Integers = int32_t __attribute__((vector_size(16)));
  using Halves = uint16_t __attribute__((vector_size(8)));
  using Bytes = int8_t __attribute__((vector_size(4)));
};
template <>
struct LaneTypes<8> {
  using Floats = float __attribute__((vector_size(32)));
  using Words = uint32_t __attribute__((vector_size(32)));
  using Integers = int32_t __attribute__((vector_size(32)));
  using Halves = uint16_t __attribute__((vector_size(16)));
  using Bytes = int8_t __attribute__((vector_size(8)));
};
template <>
struct LaneTypes<16> {
  using Floats = float __attribute__((vector_size(64)));
  using Words = uint32_t __attribute__((vector_size(64)));
  using Integers = int32_t __attribute__((vector_size(64)));
  using Halves = uint16_t __attribute__((vector_size(32)));
  using Bytes = int8_t __attribute__((vector_size(16)));
};
template <int kLanes>
using Floats = typename LaneTypes<kLanes>::Floats;
template <int kLanes>
using Words = typename LaneTypes<kLanes>::Words;

template <typename Vector>
constexpr int kLanesOf = static_cast<int>(sizeof(Vector) / sizeof(float));

/// A vector from any address.
template <typename Vector>
MSA_INLINE Vector load(const void* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

template <typename Vector>
MSA_INLINE void store(const Vector& vector, float* to) {
  std::memcpy(to, &vector, sizeof vector);
}

template <typename Vector>
MSA_INLINE Vector larger(const Vector& a, const Vector& b) {
  return a > b ? a : b;
}

// Lane i of the result: a[i] or b[i - step], so that blocks of `step` lanes that stand at even
// places of a and b stand side by side; with `is_odd` those at odd places.
template <int kStep, bool kIsOdd, typename Vector, int... i>
MSA_INLINE Vector pick_blocks(const Vector& a, const Vector& b, std::integer_sequence<int, i...>) {
  constexpr int kShift = kIsOdd ? kStep : 0;
  return __builtin_shufflevector(
      a, b, ((i & kStep) == 0 ? i + kShift : kLanesOf<Vector> + i - kStep + kShift)...);
}
template <int kStep, bool kIsOdd, typename Vector>
MSA_INLINE Vector pick_blocks(const Vector& a, const Vector& b) {
  return pick_blocks<kStep, kIsOdd>(a, b, std::make_integer_sequence<int, kLanesOf<Vector>>());
}

/// The values at even (odd) places of a and then of b.
template <bool kIsOdd, typename Vector, int... i>
MSA_INLINE Vector every_other(const Vector& a, const Vector& b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, (2 * i + kIsOdd)...);
}
template <bool kIsOdd, typename Vector>
MSA_INLINE Vector every_other(const Vector& a, const Vector& b) {
  return every_other<kIsOdd>(a, b, std::make_integer_sequence<int, kLanesOf<Vector>>());
}

/// row[i][j] becomes row[j][i], for as many rows as lanes.
template <int kStep, typename Vector>
MSA_INLINE void transpose_from(Vector* row) {
  if constexpr (kStep > 0) {
    for (int i = 0; i < kLanesOf<Vector>; ++i) {
      if ((i & kStep) != 0) continue;
      const Vector a = row[i];
      const Vector b = row[i + kStep];
      row[i] = pick_blocks<kStep, false>(a, b);
      row[i + kStep] = pick_blocks<kStep, true>(a, b);
    }
    transpose_from<kStep / 2>(row);
  }
}
template <typename Vector>
MSA_INLINE void transpose(Vector* row) {
  transpose_from<kLanesOf<Vector> / 2>(row);
}

template <int kRows, int kStep, typename Vector, typename Fold>
MSA_INLINE void fold_rows_from(Vector* row, const Fold& fold) {
  if constexpr (kStep > 0) {
    constexpr int kLeft = kRows > 1 ? kRows / 2 : 1;
    for (int i = 0; i < kLeft; ++i) {
      const Vector& other = row[i + kRows - kLeft];
      row[i] = fold(pick_blocks<kStep, false>(row[i], other),  //
                    pick_blocks<kStep, true>(row[i], other));
    }
    fold_rows_from<kLeft, kStep / 2>(row, fold);
  }
}
/// Lane j * lanes / kRows of the result folds all lanes of row[j]; kRows is a power of two. The
/// rows are used up.
template <int kRows, typename Vector, typename Fold>
MSA_INLINE Vector fold_rows(Vector* row, const Fold& fold) {
  fold_rows_from<kRows, kLanesOf<Vector> / 2>(row, fold);
  return row[0];
}

struct Sum {
  template <typename Vector>
  MSA_INLINE Vector operator()(const Vector& a, const Vector& b) const {
    return a + b;
  }
};
struct Largest {
  template <typename Vector>
  MSA_INLINE Vector operator()(const Vector& a, const Vector& b) const {
    return larger(a, b);
  }
};

/// Lane j of the result is the sum over the lanes of row[j], for as many rows as lanes; they are
/// used up.
template <typename Vector>
MSA_INLINE Vector sums_of(Vector* row) {
  return fold_rows<kLanesOf<Vector>>(row, Sum());
}

template <typename Vector>
MSA_INLINE float sum_of(Vector lanes) {
  return fold_rows<1>(&lanes, Sum())[0];
}
template <typename Vector>
MSA_INLINE float largest_of(Vector lanes) {
  return fold_rows<1>(&lanes, Largest())[0];
}

}  // namespace msa::kernels
