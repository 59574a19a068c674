#include "msa/base/bfloat16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace msa {
namespace {

TEST(BFloat16, EveryBitPatternSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BFloat16 value{static_cast<uint16_t>(bits)};
    const float wide = to_float(value);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_float(to_bfloat16(wide))));
    } else {
      EXPECT_EQ(to_bfloat16(wide).bits, bits);
    }
  }
}

TEST(BFloat16, TiesGoToTheEvenNeighbour) {
  const float low = 1.0F;
  const float high = to_float(BFloat16{0x3f81});
  EXPECT_EQ(to_bfloat16((low + high) / 2).bits, 0x3f80);
  const float next = to_float(BFloat16{0x3f82});
  EXPECT_EQ(to_bfloat16((high + next) / 2).bits, 0x3f82);
}

TEST(BFloat16, LargeValuesBecomeInfinity) {
  EXPECT_TRUE(std::isinf(to_float(to_bfloat16(std::numeric_limits<float>::max()))));
}

}  // namespace
}  // namespace msa
