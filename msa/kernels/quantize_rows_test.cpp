#include "msa/kernels/quantize_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

/// Runs on guarded memory: nothing past the end may change.
std::vector<std::byte> quantize(const std::vector<float>& rows, int64_t dim, NumberType type,
                                std::vector<float>& scale) {
  const auto num_rows = static_cast<int64_t>(rows.size()) / dim;
  const auto bytes = static_cast<int64_t>(rows.size()) * bytes_of(type);
  std::vector<std::byte> out(bytes + 64, std::byte{0x5a});
  scale.assign(num_rows + 1, NAN);
  quantize_rows({.row = rows.data(),
                 .num_rows = num_rows,
                 .dim = dim,
                 .type = type,
                 .out = out.data(),
                 .scale = scale.data()});
  EXPECT_TRUE(std::all_of(out.begin() + bytes, out.end(),
                          [](std::byte b) { return b == std::byte{0x5a}; }));
  EXPECT_TRUE(std::isnan(scale.back()));
  scale.pop_back();
  out.resize(bytes);
  return out;
}

TEST(QuantizeRows, Bfloat16IsTheNearestWithTiesToEven) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    auto rows = random_floats(7 * 33, 80, 100);
    rows[0] = 1.0F + 0x1p-8F;      // half way: down to even
    rows[1] = 1.0F + 3 * 0x1p-8F;  // half way: up to even
    rows[2] = -0.0F;
    rows[3] = 0x1p-140F;
    std::vector<float> scale;
    const auto out = quantize(rows, 33, NumberType::kBFloat16, scale);
    const auto* values = reinterpret_cast<const BFloat16*>(out.data());
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(values[i].bits, to_bfloat16(rows[i]).bits);
    EXPECT_EQ(to_float(values[0]), 1.0F);
    EXPECT_EQ(to_float(values[1]), 1.0F + 0x1p-6F);
  });
}

TEST(QuantizeRows, Int8ReachesItsLargestValueAndErrsByHalfAStepAtMost) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    uint32_t seed = 90;
    for (const int64_t dim : {1, 5, 16, 31, 64, 1024}) {
      const auto rows = random_floats(9 * dim, ++seed, 0.3F);
      std::vector<float> scale;
      const auto out = quantize(rows, dim, NumberType::kInt8, scale);
      const auto* values = reinterpret_cast<const int8_t*>(out.data());
      for (int64_t n = 0; n < 9; ++n) {
        int largest = 0;
        for (int64_t i = n * dim; i < (n + 1) * dim; ++i) {
          const double step = scale[n];
          EXPECT_NEAR(values[i] * step, rows[i], step * 0.50001) << "dim " << dim << " row " << n;
          largest = std::max(largest, std::abs(static_cast<int>(values[i])));
        }
        EXPECT_EQ(largest, 127) << "dim " << dim << " row " << n;
      }
    }
  });
}

TEST(QuantizeRows, ARowOfZerosStaysZero) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    std::vector<float> scale;
    const auto out = quantize(std::vector<float>(40, 0.0F), 20, NumberType::kInt8, scale);
    EXPECT_EQ(scale, (std::vector<float>{0, 0}));
    for (const std::byte value : out) EXPECT_EQ(value, std::byte{0});
  });
}

TEST(QuantizeRows, ARowOfVerySmallValuesIsZero) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    std::vector<float> rows(20, 0.0F);
    rows[3] = 1e-38F;
    rows[4] = -1e-40F;
    std::vector<float> scale;
    const auto out = quantize(rows, 20, NumberType::kInt8, scale);
    for (int i = 0; i < 20; ++i) EXPECT_EQ(out[i], std::byte{0}) << i;
  });
}

TEST(QuantizeRows, Float32IsACopy) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const auto rows = random_floats(60, 95);
    std::vector<float> scale;
    const auto out = quantize(rows, 20, NumberType::kFloat32, scale);
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), reinterpret_cast<const float*>(out.data())));
  });
}

}  // namespace
}  // namespace msa::kernels
