#pragma once
// Scores of a few stored keys by a question's unrounded queries.

#include <cuda_bf16.h>

#include "msa/kernels/chunk_scores.cuh"

namespace msa::kernels {

/// A block widens its keys into shared memory, where each is read once; every warp takes kTokens
/// tokens at a time. A score's sum has one order, whatever the place of key and token.
template <int kTokens>
struct KeyScorer {
  static constexpr int kWarps = 12;
  static constexpr int kThreads = kWarps * kWarpThreads;
  static constexpr int kKeys = 4;      // together
  static constexpr int kSlice = 2048;  // values of a key that are held at a time

  float4 key[kKeys][kSlice / 4];
  uint32_t best[kKeys];  // ordered

  /// Values [begin, begin + kSlice) of `count` keys, filled up with zeros.
  template <bool kIsInt8>
  __device__ void load(const RouteBatchParams& p, const int32_t* chunk, int count, int64_t begin) {
    constexpr int kValues = kIsInt8 ? 16 : 8;  // of 16 bytes
    constexpr int kParts = kSlice / kValues;
    const int64_t row_bytes = p.key_dim * (kIsInt8 ? 1 : 2);
    const auto used = static_cast<int>(min((p.key_dim - begin + 127) / 128 * 128, int64_t{kSlice}));
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kKeys * kParts; i += kThreads) {
      const int place = i / kParts;
      const int value = i % kParts * kValues;
      if (place >= count || value >= used) continue;
      uint4 part{};
      if (begin + value < p.key_dim) {
        part = *reinterpret_cast<const uint4*>(static_cast<const uint8_t*>(p.key) +
                                               chunk[place] * row_bytes +
                                               (begin + value) * (kIsInt8 ? 1 : 2));
      }
      const uint32_t words[4] = {part.x, part.y, part.z, part.w};
#pragma unroll
      for (int v = 0; v < kValues; v += 4) {
        key[place][(value + v) / 4] = {value_of<kIsInt8>(words, v), value_of<kIsInt8>(words, v + 1),
                                       value_of<kIsInt8>(words, v + 2),
                                       value_of<kIsInt8>(words, v + 3)};
      }
    }
    __syncthreads();
  }

  /// Raises `fresh`, ordered scores of documents, to those of the `count` <= kKeys chunks by a
  /// question's tokens, or by those of one part of them of `num_parts`. By all threads of the
  /// block; `chunk` is in shared or global memory.
  template <bool kIsInt8>
  __device__ void score(const RouteBatchParams& p, const TokenSpans& spans, int question,
                        const int32_t* chunk, int count, uint32_t* fresh, int part = 0,
                        int num_parts = 1) {
    const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
    const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    const int first_token = spans.given[question];
    const int num_tokens = spans.given[question + 1] - first_token;
    const bool is_held = p.key_dim <= kSlice;
    if (is_held) load<kIsInt8>(p, chunk, count, 0);
    if (threadIdx.x < kKeys) best[threadIdx.x] = kept_score(-INFINITY);
    __syncthreads();
    constexpr int kRound = kWarps * kTokens;
    for (int round = part * kRound; round < num_tokens; round += num_parts * kRound) {
      const int token = round + warp * kTokens;
      const bool is_needed = token < num_tokens;
      const float* query[kTokens];
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        query[t] = p.query + (first_token + min(token + t, num_tokens - 1)) * p.key_dim;
      }
      float sum[kTokens][kKeys] = {};
      for (int64_t begin = 0; begin < p.key_dim; begin += kSlice) {
        if (!is_held) load<kIsInt8>(p, chunk, count, begin);
        if (is_needed) add(query, begin, p.key_dim, lane, sum);
      }
      if (!is_needed) continue;
#pragma unroll
      for (int k = 0; k < kKeys; ++k) {
        float largest = -INFINITY;
#pragma unroll
        for (int t = 0; t < kTokens; ++t) largest = fmaxf(largest, warp_sum(sum[t][k]));
        if (lane == 0) atomicMax(best + k, to_ordered(largest));
      }
    }
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < count) {
      const int32_t own = chunk[threadIdx.x];
      const float dot = from_ordered(best[threadIdx.x]);
      atomicMax(fresh + p.document_of_chunk[own],
                kept_score(kIsInt8 ? dot * p.key_scale[own] : dot));
    }
    __syncthreads();
  }

 private:
  /// Value i of 16 bytes.
  template <bool kIsInt8>
  __device__ static float value_of(const uint32_t (&words)[4], int i) {
    if constexpr (kIsInt8) {
      return static_cast<float>(static_cast<int8_t>(words[i / 4] >> (i % 4 * 8)));
    } else {
      return __uint_as_float(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000U);
    }
  }

  __device__ void add(const float* const (&query)[kTokens], int64_t begin, int64_t key_dim,
                      int lane, float (&sum)[kTokens][kKeys]) const {
    constexpr int kUnrolled = kTokens == 1 ? 8 : 4;
    const auto count = static_cast<int>(min(key_dim - begin, int64_t{kSlice}));
#pragma unroll kUnrolled
    for (int i = 4 * lane; i < count; i += 4 * kWarpThreads) {
      float4 q[kTokens];
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        q[t] = __ldg(reinterpret_cast<const float4*>(query[t] + begin + i));
      }
#pragma unroll
      for (int k = 0; k < kKeys; ++k) {
        const float4 values = key[k][i / 4];
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
          sum[t][k] += q[t].x * values.x;
          sum[t][k] += q[t].y * values.y;
          sum[t][k] += q[t].z * values.z;
          sum[t][k] += q[t].w * values.w;
        }
      }
    }
  }
};

}  // namespace msa::kernels
