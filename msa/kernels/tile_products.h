#pragma once
// Products of a few rows with a tile of keys, for float and double: what attention and its
// gradients are made of.

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "msa/kernels/vector_lanes.h"

namespace msa::kernels {

constexpr int64_t kTileKeys = 64;
constexpr int64_t kWidestVector = 64;  // bytes

/// As many doubles as fill a vector of kLanes floats.
template <int kLanes>
struct Doubles;
template <>
struct Doubles<4> {
  using Type = double __attribute__((vector_size(16)));
};
template <>
struct Doubles<8> {
  using Type = double __attribute__((vector_size(32)));
};
template <>
struct Doubles<16> {
  using Type = double __attribute__((vector_size(64)));
};
template <typename Number, int kLanes>
using VectorOf = std::conditional_t<std::is_same_v<Number, float>, Floats<kLanes>,
                                    typename Doubles<kLanes>::Type>;

template <typename Vector, typename Number>
MSA_INLINE void store_vector(const Vector& vector, Number* to) {
  std::memcpy(to, &vector, sizeof vector);
}

template <typename Number>
MSA_INLINE int64_t padded(int64_t dim) {
  constexpr int64_t kLanes = kWidestVector / static_cast<int64_t>(sizeof(Number));
  return (dim + kLanes - 1) / kLanes * kLanes;
}

template <typename Number>
MSA_INLINE void load_row(const Number* from, int64_t dim, int64_t width, Number* to) {
  for (int64_t d = 0; d < dim; ++d) to[d] = from[d];
  for (int64_t d = dim; d < width; ++d) to[d] = 0;
}

/// The row itself, or a padded copy of it.
template <typename Number, typename Given>
MSA_INLINE Given* whole_row(Given* row, int64_t dim, int64_t width, Number* copy) {
  if (dim == width) return row;
  load_row<Number>(row, dim, width, copy);
  return copy;
}

/// by_dim [D, kTileKeys] from `count` rows; zeros to the end of the last vector.
template <int kLanes, typename Number>
MSA_INLINE void load_by_dim(const Number* from, int64_t stride, int64_t count, int64_t dim,
                            Number* by_dim) {
  int64_t whole = 0;
  if constexpr (std::is_same_v<Number, float>) {
    whole = dim / kLanes * kLanes;
    for (int64_t first = 0; first < count; first += kLanes) {
      const int64_t num_rows = count - first < kLanes ? count - first : kLanes;
      for (int64_t d = 0; d < whole; d += kLanes) {
        Floats<kLanes> block[kLanes] = {};
        for (int64_t j = 0; j < num_rows; ++j) {
          block[j] = load<Floats<kLanes>>(from + (first + j) * stride + d);
        }
        transpose(block);
        for (int64_t i = 0; i < kLanes; ++i) store(block[i], by_dim + (d + i) * kTileKeys + first);
      }
    }
  }
  for (int64_t d = whole; d < dim; ++d) {
    for (int64_t j = 0; j < kTileKeys; ++j) {
      by_dim[d * kTileKeys + j] = j < count ? from[j * stride + d] : 0;
    }
  }
}

/// out[r][j] = row[r] . by_dim[.][j] for kVectors vectors of keys from `first`.
template <typename Vector, int kCount, int kVectors, typename Number>
MSA_INLINE void dot_rows(const Number* const* row, const Number* by_dim, int64_t dim, int64_t first,
                         Number (*out)[kTileKeys]) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(Number);
  Vector sum[kCount][kVectors] = {};
  for (int64_t d = 0; d < dim; ++d) {
    const Number* key = by_dim + d * kTileKeys + first;
    for (int r = 0; r < kCount; ++r) {
      for (int v = 0; v < kVectors; ++v) sum[r][v] += row[r][d] * load<Vector>(key + v * kLanes);
    }
  }
  for (int r = 0; r < kCount; ++r) {
    for (int v = 0; v < kVectors; ++v) store_vector(sum[r][v], out[r] + first + v * kLanes);
  }
}

/// All whole vectors of keys that begin before `end`; returns the keys done.
template <typename Vector, int kCount, typename Number>
MSA_INLINE int64_t dot_tile(const Number* const* row, const Number* by_dim, int64_t dim,
                            int64_t end, Number (*out)[kTileKeys]) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(Number);
  int64_t j = 0;
  if constexpr (sizeof(Vector) == kWidestVector) {  // 32 registers
    for (; j + 3 * kLanes < end; j += 4 * kLanes) {
      dot_rows<Vector, kCount, 4>(row, by_dim, dim, j, out);
    }
  }
  for (; j + kLanes < end; j += 2 * kLanes) dot_rows<Vector, kCount, 2>(row, by_dim, dim, j, out);
  for (; j < end; j += kLanes) dot_rows<Vector, kCount, 1>(row, by_dim, dim, j, out);
  return j;
}

/// sum[r] += weight[r] times rows [num_keys, width], for kVectors vectors of columns.
template <typename Vector, int kCount, int kVectors, typename Number>
MSA_INLINE void add_columns(const Number (*weight)[kTileKeys], const Number* rows, int64_t num_keys,
                            int64_t width, int64_t column, Number* const* sum) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(Number);
  Vector held[kCount][kVectors];
  for (int r = 0; r < kCount; ++r) {
    for (int v = 0; v < kVectors; ++v) held[r][v] = load<Vector>(sum[r] + column + v * kLanes);
  }
  for (int64_t j = 0; j < num_keys; ++j) {
    const Number* row = rows + j * width + column;
    for (int r = 0; r < kCount; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        held[r][v] += weight[r][j] * load<Vector>(row + v * kLanes);
      }
    }
  }
  for (int r = 0; r < kCount; ++r) {
    for (int v = 0; v < kVectors; ++v) store_vector(held[r][v], sum[r] + column + v * kLanes);
  }
}

/// sum[j] += sum over r of weight[r][j] * row[r], for kVectors vectors of columns.
template <typename Vector, int kCount, int kVectors, typename Number>
MSA_INLINE void spread_columns(const Number (*weight)[kTileKeys], const Number* const* row,
                               int64_t num_keys, int64_t width, int64_t column, Number* sum) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(Number);
  Vector held[kCount][kVectors];
  for (int r = 0; r < kCount; ++r) {
    for (int v = 0; v < kVectors; ++v) held[r][v] = load<Vector>(row[r] + column + v * kLanes);
  }
  for (int64_t j = 0; j < num_keys; ++j) {
    Number* place = sum + j * width + column;
    for (int v = 0; v < kVectors; ++v) {
      Vector total = load<Vector>(place + v * kLanes);
      for (int r = 0; r < kCount; ++r) total += weight[r][j] * held[r][v];
      store_vector(total, place + v * kLanes);
    }
  }
}

/// Calls body.template operator()<kVectors>(column) for all vectors of columns, in pairs first.
template <typename Vector, typename Number, typename Body>
MSA_INLINE void for_columns(int64_t width, const Body& body) {
  constexpr int64_t kLanes = sizeof(Vector) / sizeof(Number);
  int64_t column = 0;
  for (; column + 2 * kLanes <= width; column += 2 * kLanes) body.template operator()<2>(column);
  if (column < width) body.template operator()<1>(column);
}

}  // namespace msa::kernels
