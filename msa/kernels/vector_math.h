#pragma once
// Functions of single floats without branches or calls, so that loops over them become vector code.

#include <bit>
#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/vector_code.h"

namespace msa::kernels {

/// e^x within 2 units in the last place for x in [-87, 88]; 0 below, clamped above.
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by a polynomial (Cephes coefficients); 2^n by the
/// exponent's bits.
MSA_INLINE float fast_exp(float x) {
  const float clamped = x > 88.0F ? 88.0F : (x < -87.0F ? -87.0F : x);
  // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number.
  const float n = (clamped * 1.44269504F + 0x1.8p23F) - 0x1.8p23F;
  const float r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const float scale = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  return x < -87.0F ? 0.0F : p * scale;
}

/// x / (1 + e^-x); e^88 stands for larger exponentials, which matters below x = -1e30 only.
MSA_INLINE float silu(float x) { return x / (1.0F + fast_exp(-x)); }

MSA_INLINE float widen(float value) { return value; }
MSA_INLINE float widen(BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

/// Stores a finite float in the array's type; bfloat16 rounds to nearest, ties to even.
MSA_INLINE void narrow(float value, float& out) { out = value; }
MSA_INLINE void narrow(float value, BFloat16& out) {
  const auto bits = std::bit_cast<uint32_t>(value);
  out.bits = static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

}  // namespace msa::kernels
