#include "msa/memory/key_length.h"

#include <algorithm>
#include <cmath>

#include "msa/base/bfloat16.h"

namespace msa::memory {
namespace {

/// Squares of bfloat16 are exact in double precision.
double squares_of(const BFloat16* row, int64_t dim) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < dim; ++i) {
    const auto value = static_cast<double>(to_float(row[i]));
    sum += value * value;
  }
  return sum;
}

double squares_of(const int8_t* row, int64_t dim) {
  int64_t sum = 0;
  constexpr int64_t kRun = 1 << 16;  // 2^16 * 2^14 fits 32 bits
  for (int64_t first = 0; first < dim; first += kRun) {
    int32_t part = 0;
    const int64_t end = std::min(first + kRun, dim);
    for (int64_t i = first; i < end; ++i) part += row[i] * row[i];
    sum += part;
  }
  return static_cast<double>(sum);
}

}  // namespace

float longest_key(const KeyRows& keys) {
  double longest = 0;
  for (int64_t n = 0; n < keys.num_rows; ++n) {
    if (keys.type == kernels::NumberType::kInt8) {
      const auto* row = reinterpret_cast<const int8_t*>(keys.row) + n * keys.dim;
      longest = std::max(longest, std::fabs(static_cast<double>(keys.scale[n])) *
                                      std::sqrt(squares_of(row, keys.dim)));
    } else {
      const auto* row = reinterpret_cast<const BFloat16*>(keys.row) + n * keys.dim;
      longest = std::max(longest, std::sqrt(squares_of(row, keys.dim)));
    }
  }
  return static_cast<float>(longest * (1 + 0x1p-21));  // more than rounding to float32 takes away
}

}  // namespace msa::memory
