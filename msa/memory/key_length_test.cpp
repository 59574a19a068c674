#include "msa/memory/key_length.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "msa/base/bfloat16.h"

namespace msa::memory {
namespace {

TEST(KeyLength, IsBarelyAboveTheLongestRow) {
  std::mt19937 random(3);
  for (const int64_t dim : {1, 8, 1000, 70001}) {
    constexpr int64_t kRows = 5;
    std::vector<BFloat16> halves(kRows * dim);
    std::vector<int8_t> bytes(kRows * dim);
    const std::vector<float> scale{0.25F, 0.0F, 1e-3F, 0.5F, 0.49F};
    double longest_half = 0;
    double longest_byte = 0;
    for (int64_t n = 0; n < kRows; ++n) {
      double half = 0;
      double byte = 0;
      for (int64_t i = n * dim; i < (n + 1) * dim; ++i) {
        halves[i] = to_bfloat16(static_cast<float>(random()) * 0x1p-31F - 1.0F);
        bytes[i] = static_cast<int8_t>(random() % 255 - 127);
        half += static_cast<double>(to_float(halves[i])) * to_float(halves[i]);
        const double value = static_cast<double>(scale[n]) * bytes[i];
        byte += value * value;
      }
      longest_half = std::max(longest_half, std::sqrt(half));
      longest_byte = std::max(longest_byte, std::sqrt(byte));
    }
    const float half = longest_key({.row = reinterpret_cast<const std::byte*>(halves.data()),
                                    .num_rows = kRows,
                                    .dim = dim,
                                    .type = kernels::NumberType::kBFloat16});
    const float byte = longest_key({.row = reinterpret_cast<const std::byte*>(bytes.data()),
                                    .scale = scale.data(),
                                    .num_rows = kRows,
                                    .dim = dim,
                                    .type = kernels::NumberType::kInt8});
    EXPECT_GE(half, longest_half) << dim;
    EXPECT_LE(half, longest_half * 1.000001) << dim;
    EXPECT_GE(byte, longest_byte) << dim;
    EXPECT_LE(byte, longest_byte * 1.000001) << dim;
  }
  EXPECT_EQ(longest_key({}), 0);
}

}  // namespace
}  // namespace msa::memory
