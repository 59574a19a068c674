#include "msa/storage/int8_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace msa::storage {
namespace {

/// The nearest number of eight significant bits, ties to even.
double bfloat16_of(double value) {
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
}

double reference_scale(const std::vector<float>& row) {
  double largest = 0;
  for (const float value : row) largest = std::max(largest, std::fabs(double{value}));
  return std::max(bfloat16_of(largest / 127), 0x1p-126);
}

struct Quantized {
  std::vector<int8_t> values;
  float scale = 0;
  std::vector<float> again;
};

Quantized quantized(const std::vector<float>& row) {
  const BFloat16 scale = int8_scale(row);
  Quantized result{.values = std::vector<int8_t>(row.size()),
                   .scale = to_float(scale),
                   .again = std::vector<float>(row.size())};
  quantize_int8(row, scale, result.values);
  dequantize_int8(result.values, result.scale, result.again);
  return result;
}

/// Rows of all sizes of numbers: uniform, normal, of one large value, of whole exponents.
std::vector<std::vector<float>> random_rows() {
  constexpr uint32_t kSeed = 11;
  std::mt19937 random(kSeed);
  std::vector<std::vector<float>> rows;
  for (int i = 0; i < 4000; ++i) {
    std::vector<float> row(1 + random() % 70);
    const auto exponent = static_cast<int>(random() % 240) - 126;
    const auto factor = static_cast<float>(std::ldexp(1.0, exponent));
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (float& value : row) value = factor * (i % 2 == 0 ? normal(random) : uniform(random));
    if (i % 5 == 0) row[0] = 100 * factor;
    if (i % 7 == 0) row.back() = -200 * factor;
    rows.push_back(std::move(row));
  }
  return rows;
}

TEST(Int8Rows, ScaleAndValuesAreThoseOfThePlainLoopInDoublePrecision) {
  for (const std::vector<float>& row : random_rows()) {
    const Quantized found = quantized(row);
    // largest / 127 is rounded to float32 first: next to a half of bfloat16 that may tell.
    const double scale = reference_scale(row);
    ASSERT_NEAR(found.scale, scale, scale / 128);
    for (size_t i = 0; i < row.size(); ++i) {
      const double wanted = std::nearbyint(double{row[i]} / double{found.scale});
      ASSERT_EQ(found.values[i], wanted) << row[i] << " in scales of " << found.scale;
      ASSERT_EQ(double{found.again[i]}, wanted * double{found.scale});
    }
  }
}

TEST(Int8Rows, NoValueIsFurtherThanHalfAScaleFromWhatItBecomes) {
  for (const std::vector<float>& row : random_rows()) {
    const Quantized found = quantized(row);
    for (size_t i = 0; i < row.size(); ++i) {
      ASSERT_LE(std::fabs(double{row[i]} - double{found.again[i]}), double{found.scale} / 2);
      ASSERT_LE(std::abs(int{found.values[i]}), 127);
    }
  }
}

TEST(Int8Rows, WhatWasInt8OnceIsTheSameInt8Again) {
  for (const std::vector<float>& row : random_rows()) {
    const Quantized once = quantized(row);
    const Quantized twice = quantized(once.again);
    ASSERT_EQ(twice.scale, once.scale);
    ASSERT_EQ(twice.values, once.values);
  }
}

TEST(Int8Rows, ARowOfZerosAndTheSmallestNumbersHaveAScale) {
  for (const float value : {0.0F, -0.0F, std::numeric_limits<float>::denorm_min(),
                            -std::numeric_limits<float>::min(), 0x1p-120F}) {
    const Quantized found = quantized({value, 0, value});
    EXPECT_EQ(found.scale, 0x1p-126F);
    EXPECT_EQ(found.values[1], 0);
    EXPECT_LE(std::fabs(found.again[0] - value), 0x1p-127F) << value;
  }
  EXPECT_EQ(int8_scale({}).bits, to_bfloat16(0x1p-126F).bits);
}

TEST(Int8Rows, TheLargestNumbersStayFinite) {
  const float largest = std::numeric_limits<float>::max();
  const Quantized found = quantized({largest, -largest, largest / 2});
  EXPECT_EQ(found.values, (std::vector<int8_t>{127, -127, 64}));
  for (const float value : found.again) EXPECT_TRUE(std::isfinite(value));
}

TEST(Int8Rows, TheLargestValueIs127WhereverItsScaleIsRoundedTo) {
  for (uint32_t step = 0; step < 4096; ++step) {
    const float value = 1 + static_cast<float>(step) / 4096;
    EXPECT_EQ(quantized({value, -value}).values, (std::vector<int8_t>{127, -127})) << value;
  }
  // The scale that is rounded furthest: 1 + 2^-8 becomes 1, and the largest value 127.496 of it.
  const float furthest = 127 * (1 + 0x1p-8F);
  EXPECT_EQ(to_float(int8_scale(std::vector{furthest})), 1);
  EXPECT_EQ(quantized({furthest, -furthest}).values, (std::vector<int8_t>{127, -127}));
  // Halves go to the even neighbour.
  std::vector<int8_t> out(4);
  quantize_int8(std::vector{0.5F, 1.5F, -2.5F, 126.5F}, to_bfloat16(1), out);
  EXPECT_EQ(out, (std::vector<int8_t>{0, 2, -2, 126}));
}

TEST(Int8Rows, EveryInt8IsWidenedByTheScaleGiven) {
  std::vector<int8_t> all;
  for (int value = -128; value < 128; ++value) all.push_back(static_cast<int8_t>(value));
  std::vector<float> out(all.size());
  for (const float scale : {0.0F, 1.0F, 0.1F, 0x1.fffffep-100F}) {
    dequantize_int8(all, scale, out);
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(out[i], static_cast<float>(double{scale} * all[i]));
    }
  }
}

}  // namespace
}  // namespace msa::storage
