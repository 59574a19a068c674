#include <algorithm>
#include <cmath>
#include <limits>

#include "msa/kernels/attention.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kKeys = 64;  // keys of one tile
constexpr int64_t kRows = 4;   // query rows that share a pass over a tile
constexpr int64_t kTileVectors = kKeys / kLanes;

using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));
using LooseVector = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(4)));

constexpr int64_t kMaxRows = 6 * kAttentionBlock;  // query rows of the heads that share a tile

/// A tile of keys and values of one kv head, and the running softmax of the rows that attend to it.
struct Scratch {
  alignas(64) float key[kMaxAttentionDim][kKeys];    // transposed
  alignas(64) float value[kKeys][kMaxAttentionDim];  // columns past D are zero
  alignas(64) float score[kRows][kKeys];
  alignas(64) float sum[kMaxRows * kMaxAttentionDim];  // [rows, padded D]
  float highest[kMaxRows];
  float total[kMaxRows];
};

MSA_INLINE int64_t padded(int64_t dim) { return (dim + kLanes - 1) / kLanes * kLanes; }

MSA_INLINE void load_tile(const AttentionParams& p, int64_t first_key, int64_t num_keys,
                          int64_t kv_head, Scratch& s) {
  const int64_t stride = p.num_kv_heads * p.head_dim;
  const int64_t width = padded(p.head_dim);
  for (int64_t j = 0; j < num_keys; ++j) {
    const float* key = p.key + (first_key + j) * stride + kv_head * p.head_dim;
    const float* value = p.value + (first_key + j) * stride + kv_head * p.head_dim;
    for (int64_t d = 0; d < p.head_dim; ++d) s.key[d][j] = key[d];
    for (int64_t d = 0; d < p.head_dim; ++d) s.value[j][d] = value[d];
    for (int64_t d = p.head_dim; d < width; ++d) s.value[j][d] = 0;
  }
  for (int64_t j = num_keys; j < kKeys; ++j) {
    for (int64_t d = 0; d < p.head_dim; ++d) s.key[d][j] = 0;
    for (int64_t d = 0; d < width; ++d) s.value[j][d] = 0;
  }
}

/// score[r][j] = query[r] . key[j] for kRows rows.
MSA_INLINE void score_rows(const float* const query[kRows], int64_t dim, Scratch& s) {
  Vector sum[kRows][kTileVectors] = {};
  for (int64_t d = 0; d < dim; ++d) {
    const auto* key = reinterpret_cast<const Vector*>(s.key[d]);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t v = 0; v < kTileVectors; ++v) sum[r][v] += query[r][d] * key[v];
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = 0; v < kTileVectors; ++v) {
      reinterpret_cast<Vector*>(s.score[r])[v] = sum[r][v];
    }
  }
}

/// Turns a row's scores into weights under the running maximum; returns the factor for what was
/// summed before.
MSA_INLINE float weigh_row(float* score, int64_t num_visible, float scale, float& highest,
                           float& total) {
  for (int64_t j = num_visible; j < kKeys; ++j) score[j] = -std::numeric_limits<float>::max();
  auto* part = reinterpret_cast<Vector*>(score);
  Vector largest = part[0];
  for (int64_t v = 1; v < kTileVectors; ++v) largest = part[v] > largest ? part[v] : largest;
  float best = largest[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) best = largest[lane] > best ? largest[lane] : best;
  best = std::max(highest, best * scale);
  for (int64_t j = 0; j < kKeys; ++j) score[j] = fast_exp(score[j] * scale - best);
  Vector sums = part[0];
  for (int64_t v = 1; v < kTileVectors; ++v) sums += part[v];
  float sum = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) sum += sums[lane];
  const float factor = fast_exp(highest - best);
  total = total * factor + sum;
  highest = best;
  return factor;
}

/// sum[r] = sum[r] * factor[r] + weights[r] times values, kVectors vectors of columns at a time.
template <int kVectors>
MSA_INLINE void add_values(Scratch& s, int64_t first_row, const float factor[kRows], int64_t width,
                           int64_t column, int64_t num_keys) {
  Vector sum[kRows][kVectors];
  for (int64_t r = 0; r < kRows; ++r) {
    const auto* held = reinterpret_cast<const Vector*>(s.sum + (first_row + r) * width + column);
    for (int v = 0; v < kVectors; ++v) sum[r][v] = held[v] * factor[r];
  }
  for (int64_t j = 0; j < num_keys; ++j) {
    const auto* value = reinterpret_cast<const Vector*>(s.value[j] + column);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) sum[r][v] += s.score[r][j] * value[v];
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    auto* held = reinterpret_cast<Vector*>(s.sum + (first_row + r) * width + column);
    for (int v = 0; v < kVectors; ++v) held[v] = sum[r][v];
  }
}

/// kRows query rows of one head against the tile.
MSA_INLINE void tile_rows(const AttentionParams& p, Scratch& s, const float* const* query,
                          int64_t first_row, const int64_t* num_visible, int64_t num_keys) {
  float factor[kRows];
  score_rows(query, p.head_dim, s);
  for (int64_t r = 0; r < kRows; ++r) {
    factor[r] = weigh_row(s.score[r], num_visible[r], p.scale, s.highest[first_row + r],
                          s.total[first_row + r]);
  }
  const int64_t width = padded(p.head_dim);
  int64_t column = 0;
  for (; column + 4 * kLanes <= width; column += 4 * kLanes) {
    add_values<4>(s, first_row, factor, width, column, num_keys);
  }
  for (; column < width; column += kLanes)
    add_values<1>(s, first_row, factor, width, column, num_keys);
}

}  // namespace

MSA_VECTOR_CODE void attention_block(const AttentionParams& p, int64_t sequence,
                                     int64_t first_query, int64_t kv_head) {
  static thread_local Scratch s;
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
  const int64_t width = padded(p.head_dim);
  const int64_t heads_together = kMaxRows / kAttentionBlock;
  const int64_t last_head = (kv_head + 1) * group;
  for (int64_t first_head = kv_head * group; first_head < last_head; first_head += heads_together) {
    const int64_t num_heads = std::min(heads_together, last_head - first_head);
    const int64_t num_rows = num_heads * kAttentionBlock;
    std::fill_n(s.highest, num_rows, -std::numeric_limits<float>::max());
    std::fill_n(s.total, num_rows, 0.0F);
    std::fill_n(s.sum, num_rows * width, 0.0F);
    for (int64_t first_key = 0; first_key < last_visible; first_key += kKeys) {
      const int64_t tile = std::min(kKeys, last_visible - first_key);
      load_tile(p, key_first + first_key, tile, kv_head, s);
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
          tile_rows(p, s, query, h * kAttentionBlock + row, num_visible, tile);
        }
      }
    }
    for (int64_t h = 0; h < num_heads; ++h) {
      for (int64_t row = 0; row < count; ++row) {
        const int64_t place = h * kAttentionBlock + row;
        float* out = p.out + (query_first + first_query + row) * query_stride +
                     (first_head + h) * p.head_dim;
        const float factor = 1.0F / s.total[place];
        for (int64_t d = 0; d < p.head_dim; ++d) out[d] = s.sum[place * width + d] * factor;
      }
    }
  }
}

MSA_VECTOR_CODE void sparse_attention(const SparseAttentionParams& p, int64_t first, int64_t end) {
  const int64_t group = p.num_heads / p.num_kv_heads;
  const int64_t stride = p.num_kv_heads * p.head_dim;
  const int64_t whole = p.head_dim / kLanes * kLanes;
  for (int64_t h = first; h < end; ++h) {
    const float* query = p.query + h * p.head_dim;
    const float* key = p.key + h / group * p.head_dim;
    const float* value = p.value + h / group * p.head_dim;
    float* score = p.scores + h * p.num_keys;
    float highest = -std::numeric_limits<float>::max();
    for (int64_t s = 0; s < p.num_keys; ++s, key += stride) {
      Vector sum = {};
      for (int64_t d = 0; d < whole; d += kLanes) {
        sum += *reinterpret_cast<const LooseVector*>(query + d) *
               *reinterpret_cast<const LooseVector*>(key + d);
      }
      float dot = 0;
      for (int64_t lane = 0; lane < kLanes; ++lane) dot += sum[lane];
      for (int64_t d = whole; d < p.head_dim; ++d) dot += query[d] * key[d];
      score[s] = dot * p.scale;
      highest = std::max(highest, score[s]);
    }
    float total = 0;
    for (int64_t s = 0; s < p.num_keys; ++s) score[s] = fast_exp(score[s] - highest);
    for (int64_t s = 0; s < p.num_keys; ++s) total += score[s];
    float* out = p.out + h * p.head_dim;
    std::fill_n(out, p.head_dim, 0.0F);
    for (int64_t s = 0; s < p.num_keys; ++s, value += stride) {
      for (int64_t d = 0; d < p.head_dim; ++d) out[d] += score[s] * value[d];
    }
    const float factor = 1.0F / total;
    for (int64_t d = 0; d < p.head_dim; ++d) out[d] *= factor;
  }
}

}  // namespace msa::kernels
