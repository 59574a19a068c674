#pragma once
// Rows of small integers times a vector that lies in registers, 16 columns at a time. The products
// are of integers: four in one instruction, where widening every weight would take longer than
// reading it does. x becomes integers of 16 bits, two bytes each, with a scale for the 16 columns.

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/weight_rows.h"

namespace msa::kernels {

constexpr int kQuantizedColumns = 16;  // of a piece

/// x of a piece: (256 * high + low) * scale, each of high and low four bytes a word. Words follow
/// those of the weights: in int4 the even columns of eight, then the odd ones.
struct QuantizedX {
  int32_t high[4];
  int32_t low[4];
  float scale;
};

/// Column of byte `byte` of word `word` of a piece.
template <WeightType kType>
__device__ constexpr int column_of(int word, int byte) {
  return kType == WeightType::kInt8 ? 4 * word + byte : word / 2 * 8 + 2 * byte + word % 2;
}

/// Rounded to 1 / 32639 of the largest size. A value that is not a number makes the scale none.
template <WeightType kType>
__device__ QuantizedX quantize_x(const float (&x)[kQuantizedColumns]) {
  constexpr float kMost = 127 * 256 + 127;
  constexpr float kRounder = 0x1.8p23F;  // behind adding it the lower bits are a whole number
  uint32_t largest = 0;                  // sizes are ordered as their bits are
#pragma unroll
  for (int i = 0; i < kQuantizedColumns; ++i) {
    largest = max(largest, __float_as_uint(x[i]) & 0x7fffffffU);
  }
  const float size = __uint_as_float(largest);
  const float factor = size < 1e-30F ? 0.0F : kMost / size;
  QuantizedX out;
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    uint32_t number[4];
    uint32_t above[4];
#pragma unroll
    for (int byte = 0; byte < 4; ++byte) {
      const float value = x[column_of<kType>(word, byte)];
      number[byte] = __float_as_uint(__fmaf_rn(value, factor, kRounder));
      above[byte] = number[byte] + 128;  // the lower byte has a sign too
    }
    out.low[word] =
        static_cast<int32_t>(__byte_perm(__byte_perm(number[0], number[1], 0x0040),
                                         __byte_perm(number[2], number[3], 0x0040), 0x5410));
    out.high[word] = static_cast<int32_t>(__byte_perm(
        __byte_perm(above[0], above[1], 0x0051), __byte_perm(above[2], above[3], 0x0051), 0x5410));
  }
  // Four bits of a weight stand in the upper half of a byte: 16 times as large.
  out.scale = size * (kType == WeightType::kInt8 ? 1 / kMost : 1 / (16 * kMost));
  return out;
}

/// A piece of weights, as a row holds it.
template <WeightType kType>
struct WeightPiece {
  uint4 bytes;
};
template <>
struct WeightPiece<WeightType::kInt4> {
  uint2 bytes;
  uint16_t scale;  // bfloat16
};

/// Piece `piece` of a row at `row`, which may lie in shared memory; scales begin at scale_offset.
template <WeightType kType>
__device__ WeightPiece<kType> load_piece(const std::byte* row, int piece, int scale_offset) {
  if constexpr (kType == WeightType::kInt8) {
    return {reinterpret_cast<const uint4*>(row)[piece]};
  } else {
    return {reinterpret_cast<const uint2*>(row)[piece],
            reinterpret_cast<const uint16_t*>(row + scale_offset)[piece / 2]};
  }
}

__device__ inline float widen_scale(uint16_t bits) { return __uint_as_float(uint32_t{bits} << 16); }

/// Adds a piece's products; in int8 without the scale of the row.
__device__ inline void add_piece(const WeightPiece<WeightType::kInt8>& piece, const QuantizedX& x,
                                 float& sum) {
  const uint32_t words[] = {piece.bytes.x, piece.bytes.y, piece.bytes.z, piece.bytes.w};
  int32_t high = 0;
  int32_t low = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    high = __dp4a(static_cast<int32_t>(words[i]), x.high[i], high);
    low = __dp4a(static_cast<int32_t>(words[i]), x.low[i], low);
  }
  sum += static_cast<float>(high * 256 + low) * x.scale;
}

__device__ inline void add_piece(const WeightPiece<WeightType::kInt4>& piece, const QuantizedX& x,
                                 float& sum) {
  const uint32_t words[] = {piece.bytes.x << 4, piece.bytes.x, piece.bytes.y << 4, piece.bytes.y};
  int32_t high = 0;
  int32_t low = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const auto four = static_cast<int32_t>(words[i] & 0xf0f0f0f0U);
    high = __dp4a(four, x.high[i], high);
    low = __dp4a(four, x.low[i], low);
  }
  sum += static_cast<float>(high * 256 + low) * (x.scale * widen_scale(piece.scale));
}

/// What the sum of a row is still to be multiplied by.
template <WeightType kType>
__device__ float row_factor(const std::byte* row, int scale_offset) {
  if constexpr (kType == WeightType::kInt4) return 1;
  return widen_scale(*reinterpret_cast<const uint16_t*>(row + scale_offset));
}

}  // namespace msa::kernels
