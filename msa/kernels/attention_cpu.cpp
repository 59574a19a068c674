#include <algorithm>
#include <cmath>
#include <limits>

#include "msa/kernels/attention.h"
#include "msa/kernels/vector_lanes.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

constexpr int64_t kKeys = 64;  // keys of one tile
constexpr int64_t kRows = 4;   // query rows that share a pass over a tile
constexpr int64_t kWidestVector = 16;
constexpr int64_t kMaxRows = 6 * kAttentionBlock;  // query rows of the heads that share a tile

/// A tile of keys and values of one kv head, and the running softmax of the rows that attend to it.
struct Scratch {
  alignas(64) float key[kMaxAttentionDim][kKeys];     // transposed
  alignas(64) float value[kKeys * kMaxAttentionDim];  // [keys, padded D]; columns past D are zero
  alignas(64) float score[kRows][kKeys];
  alignas(64) float sum[kMaxRows * kMaxAttentionDim];  // [rows, padded D]
  float highest[kMaxRows];
  alignas(64) float total[kMaxRows][kWidestVector];  // to be added up at the end
};

thread_local Scratch scratch;

MSA_INLINE int64_t padded(int64_t count, int64_t lanes) {
  return (count + lanes - 1) / lanes * lanes;
}

/// Keys [first_key, first_key + num_keys) of a tile; the places after them count as zero.
template <int kLanes>
MSA_INLINE void load_tile(const AttentionParams& p, int64_t first_key, int64_t num_keys,
                          int64_t kv_head, Scratch& s) {
  const int64_t stride = p.num_kv_heads * p.head_dim;
  const int64_t width = padded(p.head_dim, kWidestVector);
  const int64_t whole = p.head_dim / kLanes * kLanes;
  const float* keys = p.key + first_key * stride + kv_head * p.head_dim;
  const float* values = p.value + first_key * stride + kv_head * p.head_dim;
  for (int64_t first = 0; first < num_keys; first += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, num_keys - first);
    for (int64_t d = 0; d < whole; d += kLanes) {
      Floats<kLanes> block[kLanes] = {};
      for (int64_t j = 0; j < count; ++j)
        block[j] = load<Floats<kLanes>>(keys + (first + j) * stride + d);
      transpose(block);
      for (int64_t i = 0; i < kLanes; ++i) store(block[i], s.key[d + i] + first);
    }
    for (int64_t d = whole; d < p.head_dim; ++d) {
      for (int64_t j = 0; j < kLanes; ++j) {
        s.key[d][first + j] = j < count ? keys[(first + j) * stride + d] : 0;
      }
    }
  }
  for (int64_t j = 0; j < num_keys; ++j) {
    for (int64_t d = 0; d < p.head_dim; ++d) s.value[j * width + d] = values[j * stride + d];
    for (int64_t d = p.head_dim; d < width; ++d) s.value[j * width + d] = 0;
  }
}

/// score[r][j] = query[r] . key[j] for kRows rows and kVectors vectors of keys.
template <int kLanes, int kVectors>
MSA_INLINE void score_rows(const float* const query[kRows], int64_t dim, int64_t first_key,
                           Scratch& s) {
  using Vector = Floats<kLanes>;
  Vector sum[kRows][kVectors] = {};
  for (int64_t d = 0; d < dim; ++d) {
    const float* key = s.key[d] + first_key;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) sum[r][v] += query[r][d] * load<Vector>(key + v * kLanes);
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) store(sum[r][v], s.score[r] + first_key + v * kLanes);
  }
}

/// The first num_scored keys, whole vectors of them, as many together as the registers hold sums.
template <int kLanes>
MSA_INLINE void score_tile(const float* const query[kRows], int64_t dim, int64_t num_scored,
                           Scratch& s) {
  if constexpr (kLanes == kWidestVector) {
    switch (num_scored / kLanes) {
      case 4:
        return score_rows<kLanes, 4>(query, dim, 0, s);
      case 3:
        return score_rows<kLanes, 3>(query, dim, 0, s);
      case 2:
        return score_rows<kLanes, 2>(query, dim, 0, s);
      default:
        return score_rows<kLanes, 1>(query, dim, 0, s);
    }
  } else {
    int64_t j = 0;
    for (; j + 2 * kLanes <= num_scored; j += 2 * kLanes) {
      score_rows<kLanes, 2>(query, dim, j, s);
    }
    if (j < num_scored) score_rows<kLanes, 1>(query, dim, j, s);
  }
}

/// Turns the rows' scores, whole vectors of them, into weights under the running maxima; factor[r]
/// is for what was summed before.
template <int kLanes>
MSA_INLINE void weigh_rows(Scratch& s, int64_t first_row, const int64_t* num_visible,
                           int64_t num_scored, float scale, float* factor) {
  using Vector = Floats<kLanes>;
  float* highest = s.highest + first_row;
  float best[kRows];
  for (int64_t r = 0; r < kRows; ++r) {
    float* score = s.score[r];
    for (int64_t j = num_visible[r]; j < num_scored; ++j) {
      score[j] = -std::numeric_limits<float>::max();
    }
    Vector largest = load<Vector>(score);
    for (int64_t j = kLanes; j < num_scored; j += kLanes) {
      largest = larger(load<Vector>(score + j), largest);
    }
    best[r] = std::max(highest[r], largest_of(largest) * scale);
  }
  for (int64_t r = 0; r < kRows; ++r) factor[r] = fast_exp(highest[r] - best[r]);
  for (int64_t r = 0; r < kRows; ++r) {
    float* score = s.score[r];
    Vector sums = load<Vector>(s.total[first_row + r]) * factor[r];
    for (int64_t j = 0; j < num_scored; j += kLanes) {
      for (int64_t i = j; i < j + kLanes; ++i) score[i] = fast_exp(score[i] * scale - best[r]);
      sums += load<Vector>(score + j);
    }
    store(sums, s.total[first_row + r]);
    highest[r] = best[r];
  }
}

/// sum[r] = sum[r] * factor[r] + weights[r] times values, kVectors vectors of columns at a time.
template <int kLanes, int kVectors>
MSA_INLINE void add_values(Scratch& s, int64_t first_row, const float factor[kRows], int64_t width,
                           int64_t column, int64_t num_keys) {
  using Vector = Floats<kLanes>;
  Vector sum[kRows][kVectors];
  for (int64_t r = 0; r < kRows; ++r) {
    const float* held = s.sum + (first_row + r) * width + column;
    for (int v = 0; v < kVectors; ++v) sum[r][v] = load<Vector>(held + v * kLanes) * factor[r];
  }
  for (int64_t j = 0; j < num_keys; ++j) {
    const float* value = s.value + j * width + column;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v)
        sum[r][v] += s.score[r][j] * load<Vector>(value + v * kLanes);
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    float* held = s.sum + (first_row + r) * width + column;
    for (int v = 0; v < kVectors; ++v) store(sum[r][v], held + v * kLanes);
  }
}

/// kRows query rows of one head against the keys of the tile that at least one of them sees.
template <int kLanes>
MSA_INLINE void tile_rows(const AttentionParams& p, Scratch& s, const float* const* query,
                          int64_t first_row, const int64_t* num_visible) {
  const int64_t num_keys = *std::max_element(num_visible, num_visible + kRows);
  const int64_t num_scored = padded(num_keys, kLanes);
  score_tile<kLanes>(query, p.head_dim, num_scored, s);
  float factor[kRows];
  weigh_rows<kLanes>(s, first_row, num_visible, num_scored, p.scale, factor);
  const int64_t width = padded(p.head_dim, kWidestVector);
  int64_t column = 0;
  constexpr int kVectors = kLanes == kWidestVector ? 4 : 2;
  for (; column + kVectors * kLanes <= width; column += kVectors * kLanes) {
    add_values<kLanes, kVectors>(s, first_row, factor, width, column, num_keys);
  }
  for (; column < width; column += kLanes) {
    add_values<kLanes, 1>(s, first_row, factor, width, column, num_keys);
  }
}

template <int kLanes>
MSA_INLINE void attention_block_lanes(const AttentionParams& p, int64_t sequence,
                                      int64_t first_query, int64_t kv_head) {
  Scratch& s = scratch;
  const int64_t query_first = p.query_first[sequence];
  const int64_t key_first = p.key_first[sequence];
  const int64_t num_queries = p.query_first[sequence + 1] - query_first;
  const int64_t num_keys = p.key_first[sequence + 1] - key_first;
  const int64_t count = std::min(kAttentionBlock, num_queries - first_query);
  const int64_t group = p.num_heads / p.num_kv_heads;
  const int64_t query_stride = p.num_heads * p.head_dim;
  // Keys that query i of the sequence sees: the first num_keys - num_queries + i + 1 of them, or
  // all.
  const auto visible = [&](int64_t i) {
    return p.is_causal ? num_keys - num_queries + i + 1 : num_keys;
  };
  const int64_t last_visible = visible(first_query + count - 1);
  const int64_t width = padded(p.head_dim, kWidestVector);
  const int64_t heads_together = kMaxRows / kAttentionBlock;
  const int64_t last_head = (kv_head + 1) * group;
  for (int64_t first_head = kv_head * group; first_head < last_head; first_head += heads_together) {
    const int64_t num_heads = std::min(heads_together, last_head - first_head);
    const int64_t num_rows = num_heads * kAttentionBlock;
    std::fill_n(s.highest, num_rows, -std::numeric_limits<float>::max());
    std::fill_n(s.total[0], num_rows * kWidestVector, 0.0F);
    std::fill_n(s.sum, num_rows * width, 0.0F);
    for (int64_t first_key = 0; first_key < last_visible; first_key += kKeys) {
      const int64_t tile = std::min(kKeys, last_visible - first_key);
      load_tile<kLanes>(p, key_first + first_key, tile, kv_head, s);
      for (int64_t row = 0; row < count; row += kRows) {
        int64_t num_visible[kRows];
        bool is_seen = false;
        for (int64_t r = 0; r < kRows; ++r) {
          const int64_t i = first_query + std::min(row + r, count - 1);
          num_visible[r] = std::clamp<int64_t>(visible(i) - first_key, 0, tile);
          is_seen |= num_visible[r] > 0;
        }
        if (!is_seen) continue;
        for (int64_t h = 0; h < num_heads; ++h) {
          const float* query[kRows];
          for (int64_t r = 0; r < kRows; ++r) {
            const int64_t i = query_first + first_query + std::min(row + r, count - 1);
            query[r] = p.query + i * query_stride + (first_head + h) * p.head_dim;
          }
          tile_rows<kLanes>(p, s, query, h * kAttentionBlock + row, num_visible);
        }
      }
    }
    for (int64_t h = 0; h < num_heads; ++h) {
      for (int64_t row = 0; row < count; ++row) {
        const int64_t place = h * kAttentionBlock + row;
        float* out = p.out + (query_first + first_query + row) * query_stride +
                     (first_head + h) * p.head_dim;
        const float factor = 1.0F / sum_of(load<Floats<kLanes>>(s.total[place]));
        for (int64_t d = 0; d < p.head_dim; ++d) out[d] = s.sum[place * width + d] * factor;
      }
    }
  }
}

}  // namespace

MSA_VECTOR_FUNCTION(attention_block,
                    (const AttentionParams& params, int64_t sequence, int64_t first_query,
                     int64_t kv_head),
                    (params, sequence, first_query, kv_head))

}  // namespace msa::kernels
