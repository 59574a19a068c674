#include "msa/storage/int8_rows.h"

#include <algorithm>
#include <cmath>

namespace msa::storage {
namespace {

constexpr float kLargest = 127;
constexpr float kSmallestScale = 0x1p-126F;

}  // namespace

BFloat16 int8_scale(std::span<const float> row) {
  float largest = 0;
  for (const float value : row) largest = std::max(largest, std::fabs(value));
  // The nearest bfloat16 is smaller by a factor 1 + 2^-8 at most (1 + 2^-8 becomes 1): the largest
  // value comes to 127.4961 scales at most, which is rounded to 127.
  return to_bfloat16(std::max(largest / kLargest, kSmallestScale));
}

void quantize_int8(std::span<const float> row, BFloat16 scale, std::span<int8_t> out) {
  // In float64 no quotient of such numbers comes to lie on the other side of a half.
  const double divisor = to_float(scale);
  for (size_t i = 0; i < row.size(); ++i)
    out[i] = static_cast<int8_t>(std::nearbyint(row[i] / divisor));
}

void dequantize_int8(std::span<const int8_t> row, float scale, std::span<float> out) {
  for (size_t i = 0; i < row.size(); ++i) out[i] = static_cast<float>(row[i]) * scale;
}

}  // namespace msa::storage
