#pragma once
// Rows of a cache as a warp holds them for the transposed products of a decoding step: keys and
// values are the tall operand, the heads that share a kv head the columns.

#include "msa/base/bfloat16.h"
#include "msa/kernels/bfloat16_pairs.cuh"
#include "msa/kernels/device_code.cuh"
#include "msa/kernels/matrix_fragments.cuh"

namespace msa::kernels {

constexpr int kUnitRows = 16;   // rows of the cache that a warp takes at once
constexpr int kPartValues = 8;  // of a 16-byte load

/// Sixteen rows of the cache as a lane holds them.
template <int kDim>
struct Unit {
  static constexpr int kKeyParts = kDim / 32;
  static constexpr int kValueParts = kDim / 64;
  uint4 key[2][kKeyParts];      // rows lane / 4 and that + 8; parts lane % 4 + 4 j
  uint4 value[4][kValueParts];  // rows lane % 4 * 2 + {0, 1, 8, 9}; parts lane / 4 + 8 j

  __device__ static int key_row(int lane, int i) { return lane / 4 + i * 8; }
  __device__ static int value_row(int lane, int i) { return lane % 4 * 2 + i % 2 + i / 2 * 8; }

  /// `from` is the kv head in row 0. Rows from `end` on, and parts behind head_dim, are zero.
  __device__ static uint4 load(const BFloat16* from, int row, int part, int end, int64_t stride,
                               int64_t head_dim) {
    if (row >= end || part * kPartValues >= head_dim) return {};
    return *reinterpret_cast<const uint4*>(from + row * stride + part * kPartValues);
  }
  __device__ void load_keys(const BFloat16* from, int first, int end, int64_t stride,
                            int64_t head_dim, int lane) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < kKeyParts; ++j) {
        key[i][j] = load(from, first + key_row(lane, i), lane % 4 + 4 * j, end, stride, head_dim);
      }
    }
  }
  __device__ void load_values(const BFloat16* from, int first, int end, int64_t stride,
                              int64_t head_dim, int lane) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < kValueParts; ++j) {
        value[i][j] =
            load(from, first + value_row(lane, i), lane / 4 + 8 * j, end, stride, head_dim);
      }
    }
  }

  /// Makes `row` of the unit the one that lies in shared memory.
  __device__ void put_row(int row, const uint4* own_key, const uint4* own_value, int lane) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < kKeyParts; ++j) {
        if (key_row(lane, i) == row) key[i][j] = own_key[lane % 4 + 4 * j];
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < kValueParts; ++j) {
        if (value_row(lane, i) == row) value[i][j] = own_value[lane / 4 + 8 * j];
      }
    }
  }
};

/// What a warp has gathered. A lane has heads lane % 4 * 2 and the one after it.
template <int kDim>
struct WarpSum {
  static constexpr int kTiles = kDim / 16;
  float sum[kTiles][4] = {};
  float best[2] = {-INFINITY, -INFINITY};  // largest score, times scale * log2(e)
  float total[2] = {};

  /// Values of a tile's rows lane / 4 and lane / 4 + 8 stand in consecutive places from these on.
  __device__ static int lower_place(int lane) { return lane / 4 * 8; }
  __device__ static int upper_place(int lane) { return lane / 4 * 8 + (kDim == 128 ? 64 : 4); }

  /// Scores of the unit's rows; those behind the last visible one count for nothing.
  __device__ void weigh(const Unit<kDim>& unit, const uint4 (&query)[Unit<kDim>::kKeyParts],
                        float factor, int visible, int lane, uint32_t& low, uint32_t& high) {
    float score[4] = {};
    float other[4] = {};
#pragma unroll
    for (int j = 0; j < Unit<kDim>::kKeyParts; ++j) {
      const uint4& a = unit.key[0][j];
      const uint4& b = unit.key[1][j];
      multiply(score, a.x, b.x, a.y, b.y, query[j].x, query[j].y);
      multiply(other, a.z, b.z, a.w, b.w, query[j].z, query[j].w);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      score[i] =
          Unit<kDim>::key_row(lane, i / 2) < visible ? (score[i] + other[i]) * factor : -INFINITY;
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float most = fmaxf(score[h], score[h + 2]);
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 4));
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 8));
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 16));
      most = fmaxf(most, best[h]);  // a number: every unit has a visible row
      const float shrink = exp2_fast(best[h] - most);
      best[h] = most;
      score[h] = exp2_fast(score[h] - most);
      score[h + 2] = exp2_fast(score[h + 2] - most);
      total[h] = total[h] * shrink + score[h] + score[h + 2];
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        sum[t][h] *= shrink;
        sum[t][h + 2] *= shrink;
      }
    }
    low = transpose_block(narrow_pair(score[0], score[1]));
    high = transpose_block(narrow_pair(score[2], score[3]));
  }

  /// Value `i` of two rows, side by side.
  __device__ static uint32_t pair(const uint4& first, const uint4& second, int i) {
    const uint32_t a = i / 2 == 0 ? first.x : i / 2 == 1 ? first.y : i / 2 == 2 ? first.z : first.w;
    const uint32_t b = i / 2 == 0   ? second.x
                       : i / 2 == 1 ? second.y
                       : i / 2 == 2 ? second.z
                                    : second.w;
    return __byte_perm(a, b, i % 2 == 0 ? 0x5410 : 0x7632);
  }

  __device__ void add_values(const Unit<kDim>& unit, uint32_t low, uint32_t high) {
    constexpr int kLast = Unit<kDim>::kValueParts - 1;
    constexpr int kShift = kDim == 128 ? 0 : 4;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      multiply(sum[t], pair(unit.value[0][0], unit.value[1][0], t),
               pair(unit.value[0][kLast], unit.value[1][kLast], t + kShift),
               pair(unit.value[2][0], unit.value[3][0], t),
               pair(unit.value[2][kLast], unit.value[3][kLast], t + kShift), low, high);
    }
  }
};

}  // namespace msa::kernels
