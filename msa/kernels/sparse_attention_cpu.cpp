#include <algorithm>
#include <limits>

#include "msa/kernels/attention.h"
#include "msa/kernels/vector_lanes.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

constexpr int64_t kMostHeads = 3;  // heads of one kv head that share a pass over its keys

/// Scaled scores of kLanes keys from `first_key` on (places past the end repeat the last key).
template <int kLanes, int kHeads>
MSA_INLINE void score_keys(const SparseAttentionParams& p, int64_t head, int64_t first_key,
                           Floats<kLanes>* score) {
  using Vector = Floats<kLanes>;
  const int64_t stride = p.num_kv_heads * p.head_dim;
  const int64_t whole = p.head_dim / kLanes * kLanes;
  const float* query = p.query + head * p.head_dim;
  const float* keys = p.key + head / (p.num_heads / p.num_kv_heads) * p.head_dim;
  Vector product[kHeads][kLanes];
  Vector rest[kHeads] = {};
  for (int64_t j = 0; j < kLanes; ++j) {
    const float* key = keys + std::min(first_key + j, p.num_keys - 1) * stride;
    Vector sum[kHeads] = {};
    for (int64_t d = 0; d < whole; d += kLanes) {
      const auto part = load<Vector>(key + d);
      for (int h = 0; h < kHeads; ++h) sum[h] += load<Vector>(query + h * p.head_dim + d) * part;
    }
    for (int h = 0; h < kHeads; ++h) {
      product[h][j] = sum[h];
      for (int64_t d = whole; d < p.head_dim; ++d) rest[h][j] += query[h * p.head_dim + d] * key[d];
    }
  }
  for (int h = 0; h < kHeads; ++h) score[h] = (sums_of(product[h]) + rest[h]) * p.scale;
}

/// Turns a head's scores into weights; returns 1 / their sum.
template <int kLanes>
MSA_INLINE float weigh(float* score, int64_t count, float highest) {
  Floats<kLanes> sums = {};
  int64_t s = 0;
  for (; s + kLanes <= count; s += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) score[s + j] = fast_exp(score[s + j] - highest);
    sums += load<Floats<kLanes>>(score + s);
  }
  float total = sum_of(sums);
  for (; s < count; ++s) {
    score[s] = fast_exp(score[s] - highest);
    total += score[s];
  }
  return 1.0F / total;
}

/// Columns [column, column + kVectors * kLanes) of the weighted sum of values.
template <int kLanes, int kHeads, int kVectors>
MSA_INLINE void sum_values(const SparseAttentionParams& p, int64_t head, int64_t column,
                           const float* factor) {
  using Vector = Floats<kLanes>;
  const int64_t stride = p.num_kv_heads * p.head_dim;
  const float* value = p.value + head / (p.num_heads / p.num_kv_heads) * p.head_dim + column;
  const float* weight = p.scores + head * p.num_keys;
  Vector sum[kHeads][kVectors] = {};
  for (int64_t s = 0; s < p.num_keys; ++s, value += stride) {
    Vector part[kVectors];
    for (int v = 0; v < kVectors; ++v) part[v] = load<Vector>(value + v * kLanes);
    for (int h = 0; h < kHeads; ++h) {
      for (int v = 0; v < kVectors; ++v) sum[h][v] += weight[h * p.num_keys + s] * part[v];
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    float* out = p.out + (head + h) * p.head_dim + column;
    for (int v = 0; v < kVectors; ++v) store(sum[h][v] * factor[h], out + v * kLanes);
  }
}

/// The last columns, fewer than a vector.
MSA_INLINE void sum_last_values(const SparseAttentionParams& p, int64_t head, int64_t column,
                                float factor) {
  const int64_t stride = p.num_kv_heads * p.head_dim;
  const float* value = p.value + head / (p.num_heads / p.num_kv_heads) * p.head_dim;
  const float* weight = p.scores + head * p.num_keys;
  for (int64_t d = column; d < p.head_dim; ++d) {
    float sum = 0;
    for (int64_t s = 0; s < p.num_keys; ++s) sum += weight[s] * value[s * stride + d];
    p.out[head * p.head_dim + d] = sum * factor;
  }
}

/// Heads [head, head + kHeads), all of one kv head.
template <int kLanes, int kHeads>
MSA_INLINE void attend(const SparseAttentionParams& p, int64_t head) {
  using Vector = Floats<kLanes>;
  float* scores = p.scores + head * p.num_keys;
  Vector largest[kHeads];
  for (Vector& lanes : largest) lanes = Vector{} - std::numeric_limits<float>::max();
  for (int64_t s = 0; s < p.num_keys; s += kLanes) {
    Vector score[kHeads];
    score_keys<kLanes, kHeads>(p, head, s, score);
    for (int h = 0; h < kHeads; ++h) {
      largest[h] = larger(score[h], largest[h]);
      const int64_t count = std::min<int64_t>(kLanes, p.num_keys - s);
      float* out = scores + h * p.num_keys + s;
      if (count == kLanes) {
        store(score[h], out);
      } else {
        for (int64_t j = 0; j < count; ++j) out[j] = score[h][j];
      }
    }
  }
  float factor[kHeads];
  for (int h = 0; h < kHeads; ++h) {
    factor[h] = weigh<kLanes>(scores + h * p.num_keys, p.num_keys, largest_of(largest[h]));
  }
  constexpr int kWide = kLanes == 16 ? 4 : 2;  // sums of all heads fit into the registers
  int64_t column = 0;
  for (; column + kWide * kLanes <= p.head_dim; column += kWide * kLanes) {
    sum_values<kLanes, kHeads, kWide>(p, head, column, factor);
  }
  for (; column + kLanes <= p.head_dim; column += kLanes) {
    sum_values<kLanes, kHeads, 1>(p, head, column, factor);
  }
  for (int h = 0; h < kHeads; ++h) sum_last_values(p, head + h, column, factor[h]);
}

template <int kLanes>
MSA_INLINE void sparse_attention_lanes(const SparseAttentionParams& p, int64_t first, int64_t end) {
  const int64_t group = p.num_heads / p.num_kv_heads;
  for (int64_t head = first; head < end;) {
    const int64_t last = std::min(end, (head / group + 1) * group);
    const int64_t count = std::min(kMostHeads, last - head);
    if (count == 3) {
      attend<kLanes, 3>(p, head);
    } else if (count == 2) {
      attend<kLanes, 2>(p, head);
    } else {
      attend<kLanes, 1>(p, head);
    }
    head += count;
  }
}

}  // namespace

MSA_VECTOR_FUNCTION(sparse_attention,
                    (const SparseAttentionParams& params, int64_t first, int64_t end),
                    (params, first, end))

}  // namespace msa::kernels
