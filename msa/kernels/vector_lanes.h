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

/// Lane j of the result is the sum over the lanes of row[j], for as many rows as lanes; they are
/// used up.
template <int kStep, typename Vector>
MSA_INLINE void add_halves_from(Vector* row) {
  if constexpr (kStep > 0) {
    for (int i = 0; i < kStep; ++i) {
      row[i] = pick_blocks<kStep, false>(row[i], row[i + kStep]) +
               pick_blocks<kStep, true>(row[i], row[i + kStep]);
    }
    add_halves_from<kStep / 2>(row);
  }
}
template <typename Vector>
MSA_INLINE Vector sums_of(Vector* row) {
  add_halves_from<kLanesOf<Vector> / 2>(row);
  return row[0];
}

template <int kStep, typename Vector>
MSA_INLINE Vector fold_halves(Vector lanes, bool takes_largest) {
  if constexpr (kStep == 0) {
    return lanes;
  } else {
    const Vector other = pick_blocks<kStep, true>(lanes, lanes);
    return fold_halves<kStep / 2>(takes_largest ? larger(lanes, other) : lanes + other,
                                  takes_largest);
  }
}
template <typename Vector>
MSA_INLINE float sum_of(const Vector& lanes) {
  return fold_halves<kLanesOf<Vector> / 2>(lanes, false)[0];
}
template <typename Vector>
MSA_INLINE float largest_of(const Vector& lanes) {
  return fold_halves<kLanesOf<Vector> / 2>(lanes, true)[0];
}

}  // namespace msa::kernels
