#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "msa/kernels/packed_attention_gradient.h"
#include "msa/kernels/tile_products.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

constexpr int64_t kRows = 4;  // query rows that share a pass over a tile

MSA_INLINE float exponential(float x) { return fast_exp(x); }
MSA_INLINE double exponential(double x) { return std::exp(x); }

/// Rows (query, head) of one sequence and kv head: the heads of a query stand side by side.
struct Rows {
  int64_t first_query;  // of all sequences
  int64_t num_queries;
  int64_t first_key;
  int64_t num_keys;
  int64_t group;  // heads of a query
  int64_t kv_head;
  int64_t num_heads;
  int64_t dim;

  MSA_INLINE int64_t count() const { return num_queries * group; }
  MSA_INLINE int64_t head_place(int64_t row) const {
    return (first_query + row / group) * num_heads + kv_head * group + row % group;
  }
  MSA_INLINE int64_t place(int64_t row) const { return head_place(row) * dim; }
  /// Keys of the sequence that the row sees.
  MSA_INLINE int64_t visible(int64_t row) const {
    return std::max<int64_t>(0, num_keys - num_queries + row / group + 1);
  }
  /// The first row that sees more than `num_before` keys.
  MSA_INLINE int64_t first_row_past(int64_t num_before) const {
    return std::clamp<int64_t>(num_before - num_keys + num_queries, 0, num_queries) * group;
  }
};

template <typename Number>
MSA_INLINE Rows rows_of(const AttentionForwardParams<Number>& p, int64_t sequence,
                        int64_t kv_head) {
  return {.first_query = p.query_offsets[sequence],
          .num_queries = p.query_offsets[sequence + 1] - p.query_offsets[sequence],
          .first_key = p.key_offsets[sequence],
          .num_keys = p.key_offsets[sequence + 1] - p.key_offsets[sequence],
          .group = p.num_heads / p.num_kv_heads,
          .kv_head = kv_head,
          .num_heads = p.num_heads,
          .dim = p.head_dim};
}

/// What one tile of keys needs. Rows are padded with zeros to whole vectors.
template <typename Number>
struct Scratch {
  alignas(64) Number key_by_dim[kMaxGradientDim * kTileKeys];    // [D, keys]
  alignas(64) Number value_by_dim[kMaxGradientDim * kTileKeys];  // [D, keys]
  alignas(64) Number key[kTileKeys * kMaxGradientDim];           // [keys, padded D]
  alignas(64) Number value[kTileKeys * kMaxGradientDim];         // [keys, padded D]
  alignas(64) Number key_sum[kTileKeys * kMaxGradientDim];       // [keys, padded D]
  alignas(64) Number value_sum[kTileKeys * kMaxGradientDim];     // [keys, padded D]
  // Copies of the rows at hand where D is no whole number of vectors.
  alignas(64) Number query[kRows][kMaxGradientDim];
  alignas(64) Number gradient[kRows][kMaxGradientDim];
  alignas(64) Number sum[kRows][kMaxGradientDim];
  alignas(64) Number score[kRows][kTileKeys];
  alignas(64) Number slope[kRows][kTileKeys];
  std::vector<Number> highest;  // [rows of the sequence]
  std::vector<Number> total;    // the same; in the backward pass out . out_gradient
};

template <typename Number>
Scratch<Number>& scratch() {
  // On the heap: a thread's own variables come out of its stack.
  static thread_local const auto memory = std::make_unique<Scratch<Number>>();
  return *memory;
}

/// kCount rows against the first `tile` keys of the scratch, which begin at first_key of the
/// sequence and of which each row sees one or more: scores become weights under the rows' running
/// maxima, values are added.
template <typename Vector, int kCount, typename Number>
MSA_INLINE void forward_rows(const AttentionForwardParams<Number>& p, const Rows& rows,
                             int64_t first_row, int64_t first_key, int64_t tile,
                             Scratch<Number>& s) {
  const int64_t width = padded<Number>(rows.dim);
  const Number* query[kCount];
  Number* sum[kCount];
  for (int r = 0; r < kCount; ++r) {
    query[r] = p.query + rows.place(first_row + r);
    sum[r] = whole_row<Number>(p.out + rows.place(first_row + r), rows.dim, width, s.sum[r]);
  }
  const int64_t most = std::min(tile, rows.visible(first_row + kCount - 1) - first_key);
  const int64_t num_scored = dot_tile<Vector, kCount>(query, s.key_by_dim, rows.dim, most, s.score);
  for (int r = 0; r < kCount; ++r) {
    const int64_t row = first_row + r;
    const int64_t num_seen = std::min(rows.visible(row) - first_key, most);
    Number* score = s.score[r];
    for (int64_t j = num_seen; j < num_scored; ++j)
      score[j] = std::numeric_limits<Number>::lowest();
    Number largest = score[0];
#pragma omp simd reduction(max : largest)
    for (int64_t j = 0; j < num_scored; ++j) largest = score[j] > largest ? score[j] : largest;
    const Number best = std::max(s.highest[row], largest * p.scale);
    const Number factor = exponential(s.highest[row] - best);
    Number total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < num_scored; ++j) {
      score[j] = exponential(score[j] * p.scale - best);
      total += score[j];
    }
    s.total[row] = s.total[row] * factor + total;
    s.highest[row] = best;
    for (int64_t d = 0; d < width; ++d) sum[r][d] *= factor;
  }
  for_columns<Vector, Number>(
      width, [&]<int kVectors>(int64_t column) __attribute__((always_inline)) {
        add_columns<Vector, kCount, kVectors>(s.score, s.value, most, width, column, sum);
      });
  if (rows.dim == width) return;
  for (int r = 0; r < kCount; ++r) {
    std::copy_n(sum[r], rows.dim, p.out + rows.place(first_row + r));
  }
}

template <int kLanes, typename Number>
MSA_INLINE void attention_forward_lanes(const AttentionForwardParams<Number>& p, int64_t sequence,
                                        int64_t kv_head) {
  using Vector = VectorOf<Number, kLanes>;
  const Rows rows = rows_of(p, sequence, kv_head);
  Scratch<Number>& s = scratch<Number>();
  const int64_t count = rows.count();
  const int64_t width = padded<Number>(rows.dim);
  s.highest.assign(count, std::numeric_limits<Number>::lowest());
  s.total.assign(count, 0);
  for (int64_t row = 0; row < count; ++row) std::fill_n(p.out + rows.place(row), rows.dim, 0);
  const int64_t stride = p.num_kv_heads * rows.dim;
  for (int64_t first_key = 0; first_key < rows.num_keys; first_key += kTileKeys) {
    const int64_t tile = std::min(kTileKeys, rows.num_keys - first_key);
    const int64_t place = (rows.first_key + first_key) * stride + kv_head * rows.dim;
    load_by_dim<kLanes>(p.key + place, stride, tile, rows.dim, s.key_by_dim);
    for (int64_t j = 0; j < tile; ++j) {
      load_row(p.value + place + j * stride, rows.dim, width, s.value + j * width);
    }
    int64_t row = rows.first_row_past(first_key);
    for (; row + kRows <= count; row += kRows) {
      forward_rows<Vector, kRows>(p, rows, row, first_key, tile, s);
    }
    for (; row < count; ++row) forward_rows<Vector, 1>(p, rows, row, first_key, tile, s);
  }
  for (int64_t row = 0; row < count; ++row) {
    const bool is_blind = s.total[row] == 0;
    Number* out = p.out + rows.place(row);
    const Number factor = is_blind ? 0 : 1 / s.total[row];
    for (int64_t d = 0; d < rows.dim; ++d) out[d] *= factor;
    p.log_sum[rows.head_place(row)] = is_blind ? 0 : s.highest[row] + std::log(s.total[row]);
  }
}

/// kCount rows against the keys of the scratch: probabilities from the stored sums, then their
/// slopes p * (dp - delta), and from these the three gradients.
template <typename Vector, int kCount, typename Number>
MSA_INLINE void backward_rows(const AttentionBackwardParams<Number>& p, const Rows& rows,
                              int64_t first_row, int64_t first_key, int64_t tile,
                              Scratch<Number>& s) {
  const int64_t width = padded<Number>(rows.dim);
  const Number* query[kCount];
  const Number* gradient[kCount];
  Number* sum[kCount];
  for (int r = 0; r < kCount; ++r) {
    const int64_t place = rows.place(first_row + r);
    query[r] = whole_row(p.forward.query + place, rows.dim, width, s.query[r]);
    gradient[r] = whole_row(p.out_gradient + place, rows.dim, width, s.gradient[r]);
    sum[r] = whole_row(p.query_gradient + place, rows.dim, width, s.sum[r]);
  }
  const int64_t most = std::min(tile, rows.visible(first_row + kCount - 1) - first_key);
  dot_tile<Vector, kCount>(query, s.key_by_dim, rows.dim, most, s.score);
  const int64_t num_scored =
      dot_tile<Vector, kCount>(gradient, s.value_by_dim, rows.dim, most, s.slope);
  for (int r = 0; r < kCount; ++r) {
    const int64_t row = first_row + r;
    const int64_t num_seen = std::min(rows.visible(row) - first_key, most);
    const Number log_sum = p.forward.log_sum[rows.head_place(row)];
    const Number delta = s.total[row];
    const Number scale = p.forward.scale;
    Number* score = s.score[r];
    Number* slope = s.slope[r];
    for (int64_t j = num_seen; j < num_scored; ++j)
      score[j] = std::numeric_limits<Number>::lowest();
    for (int64_t j = 0; j < num_scored; ++j) {
      score[j] = exponential(score[j] * scale - log_sum);
      slope[j] = score[j] * (slope[j] - delta) * scale;
    }
  }
  for_columns<Vector, Number>(
      width, [&]<int kVectors>(int64_t column) __attribute__((always_inline)) {
        spread_columns<Vector, kCount, kVectors>(s.score, gradient, most, width, column,
                                                 s.value_sum);
        spread_columns<Vector, kCount, kVectors>(s.slope, query, most, width, column, s.key_sum);
        add_columns<Vector, kCount, kVectors>(s.slope, s.key, most, width, column, sum);
      });
  if (rows.dim == width) return;
  for (int r = 0; r < kCount; ++r) {
    std::copy_n(sum[r], rows.dim, p.query_gradient + rows.place(first_row + r));
  }
}

template <int kLanes, typename Number>
MSA_INLINE void attention_backward_lanes(const AttentionBackwardParams<Number>& p, int64_t sequence,
                                         int64_t kv_head) {
  using Vector = VectorOf<Number, kLanes>;
  const AttentionForwardParams<Number>& f = p.forward;
  const Rows rows = rows_of(f, sequence, kv_head);
  Scratch<Number>& s = scratch<Number>();
  const int64_t count = rows.count();
  const int64_t width = padded<Number>(rows.dim);
  s.total.resize(count);
  for (int64_t row = 0; row < count; ++row) {
    const int64_t place = rows.place(row);
    Number delta = 0;
#pragma omp simd reduction(+ : delta)
    for (int64_t d = 0; d < rows.dim; ++d) delta += f.out[place + d] * p.out_gradient[place + d];
    s.total[row] = delta;
    std::fill_n(p.query_gradient + place, rows.dim, 0);
  }
  const int64_t stride = f.num_kv_heads * rows.dim;
  for (int64_t first_key = 0; first_key < rows.num_keys; first_key += kTileKeys) {
    const int64_t tile = std::min(kTileKeys, rows.num_keys - first_key);
    const int64_t place = (rows.first_key + first_key) * stride + kv_head * rows.dim;
    load_by_dim<kLanes>(f.key + place, stride, tile, rows.dim, s.key_by_dim);
    load_by_dim<kLanes>(f.value + place, stride, tile, rows.dim, s.value_by_dim);
    for (int64_t j = 0; j < tile; ++j) {
      load_row(f.key + place + j * stride, rows.dim, width, s.key + j * width);
    }
    std::fill_n(s.key_sum, tile * width, 0);
    std::fill_n(s.value_sum, tile * width, 0);
    int64_t row = rows.first_row_past(first_key);
    for (; row + kRows <= count; row += kRows) {
      backward_rows<Vector, kRows>(p, rows, row, first_key, tile, s);
    }
    for (; row < count; ++row) backward_rows<Vector, 1>(p, rows, row, first_key, tile, s);
    for (int64_t j = 0; j < tile; ++j) {
      std::copy_n(s.key_sum + j * width, rows.dim, p.key_gradient + place + j * stride);
      std::copy_n(s.value_sum + j * width, rows.dim, p.value_gradient + place + j * stride);
    }
  }
}

}  // namespace

MSA_VECTOR_FUNCTION(attention_forward,
                    (const AttentionForwardParams<float>& params, int64_t sequence,
                     int64_t kv_head),
                    (params, sequence, kv_head))
MSA_VECTOR_FUNCTION(attention_forward,
                    (const AttentionForwardParams<double>& params, int64_t sequence,
                     int64_t kv_head),
                    (params, sequence, kv_head))
MSA_VECTOR_FUNCTION(attention_backward,
                    (const AttentionBackwardParams<float>& params, int64_t sequence,
                     int64_t kv_head),
                    (params, sequence, kv_head))
MSA_VECTOR_FUNCTION(attention_backward,
                    (const AttentionBackwardParams<double>& params, int64_t sequence,
                     int64_t kv_head),
                    (params, sequence, kv_head))

}  // namespace msa::kernels
