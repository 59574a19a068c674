#pragma once
// Rows of numbers as int8 with one scale each: value = int8 * scale. docs/format/model.md has why.

#include <cstdint>
#include <span>

#include "msa/base/bfloat16.h"

namespace msa::storage {

/// max |row| / 127 rounded to bfloat16, at least 2^-126: a row of zeros has a scale too, and no
/// scale is subnormal. Values must be finite.
BFloat16 int8_scale(std::span<const float> row);

/// out = row / scale rounded to nearest, ties to even, where `scale` is int8_scale(row): no value
/// is further than half a scale from out * scale, and |out| <= 127. Sizes must be the same.
void quantize_int8(std::span<const float> row, BFloat16 scale, std::span<int8_t> out);

/// out = row * scale, a product of float32; exact where `scale` has 16 bits or fewer. Sizes must be
/// the same.
void dequantize_int8(std::span<const int8_t> row, float scale, std::span<float> out);

}  // namespace msa::storage
