#pragma once
// A warp's part of a tile of attention: scores of its query rows, their running softmax, and the
// sums of values, all in registers (FlashAttention-2).

#include "msa/kernels/bfloat16_pairs.cuh"
#include "msa/kernels/device_code.cuh"
#include "msa/kernels/matrix_fragments.cuh"

namespace msa::kernels {

constexpr int kTileWarps = 4;
constexpr int kTileThreads = kTileWarps * kWarpThreads;
constexpr int kKeys = 64;       // of a step
constexpr int kPartBytes = 16;  // one copy, one row of a block of a fragment
constexpr int kPartValues = 8;

/// Rows of kDim bfloat16 in shared memory, from an address that is a multiple of 256. A part stands
/// where no two of eight rows share a bank: place(row, part ^ i) is place(row, part) ^ (i * 16).
template <int kDim>
struct Rows {
  static constexpr int kParts = kDim / kPartValues;
  static constexpr int kRowsPerPass = kTileThreads / kParts;  // copied together by a block

  __device__ static uint32_t place(int row, int part) {
    return static_cast<uint32_t>((row * kParts + (part ^ (row & 7))) * kPartBytes);
  }
};

/// The part of a tile that a warp holds: kRowTiles times 16 rows. A lane has rows lane / 4 and
/// lane / 4 + 8 of each.
template <int kDim, int kRowTiles>
struct WarpTile {
  float sum[kRowTiles][kDim / 8][4] = {};
  float best[kRowTiles][2];   // largest score so far, before the scale
  float total[kRowTiles][2];  // this lane's part of the sum of numerators

  __device__ void clear() {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        best[m][half] = -INFINITY;
        total[m][half] = 0;
      }
    }
  }

  __device__ static void score_step(float (&score)[kRowTiles][kKeys / 8][4], uint32_t query,
                                    uint32_t keys, int warp, int lane) {
    using R = Rows<kDim>;
    query += R::place(warp * kRowTiles * 16 + lane % 16, lane / 16);
    keys += R::place(lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        load_blocks((query ^ (step * 32U)) + m * 16 * kDim * 2, a[m]);
      }
#pragma unroll
      for (int n = 0; n < kKeys / 8; n += 2) {
        uint32_t b[4];
        load_blocks((keys ^ (step * 32U)) + n * 8 * kDim * 2, b);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          multiply(score[m][n], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
          multiply(score[m][n + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
        }
      }
    }
  }

  /// Turns the scores of a step into numerators and brings the sums to the new largest score.
  __device__ void weigh_step(float (&score)[kRowTiles][kKeys / 8][4], float factor) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float most = best[m][half];
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
          most = fmaxf(most, fmaxf(score[m][n][half * 2], score[m][n][half * 2 + 1]));
        }
        most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
        most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
        // A row may have seen no key yet: then every numerator is 2^-infinity.
        const float reference = most == -INFINITY ? 0.0F : most * factor;
        const float shrink = exp2_fast(best[m][half] * factor - reference);
        best[m][half] = most;
        float added = 0;
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int i = half * 2; i < half * 2 + 2; ++i) {
            score[m][n][i] = exp2_fast(score[m][n][i] * factor - reference);
            added += score[m][n][i];
          }
        }
        total[m][half] = total[m][half] * shrink + added;
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
          sum[m][n][half * 2] *= shrink;
          sum[m][n][half * 2 + 1] *= shrink;
        }
      }
    }
  }

  __device__ void add_values(const float (&score)[kRowTiles][kKeys / 8][4], uint32_t values,
                             int lane) {
    values += Rows<kDim>::place(lane % 16, lane / 16);
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float(&from)[4] = score[m][step * 2 + i / 2];
          a[m][i] = narrow_pair(from[i % 2 * 2], from[i % 2 * 2 + 1]);
        }
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; n += 2) {
        uint32_t b[4];
        load_blocks_transposed((values ^ (n * 16U)) + step * 16 * kDim * 2, b);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          multiply(sum[m][n], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
          multiply(sum[m][n + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
        }
      }
    }
  }

  /// Makes `total` the sum over the whole row.
  __device__ void finish() {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        total[m][half] += __shfl_xor_sync(kAllLanes, total[m][half], 1);
        total[m][half] += __shfl_xor_sync(kAllLanes, total[m][half], 2);
      }
    }
  }
};

}  // namespace msa::kernels
