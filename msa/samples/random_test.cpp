#include "msa/samples/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

namespace msa::samples {
namespace {

TEST(Random, IsAFunctionOfSeedAndKey) {
  Random first(7, {3, 1});
  Random second(7, {3, 1});
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(first.next(), second.next());
}

TEST(Random, GivesTheNumbersOfSplitmix64) {
  // A key of no parts: the stream begins at the mixed seed, here that of 0.
  Random random(0, {});
  EXPECT_EQ(random.next(), 0xE220A8397B1DCDAFU);
  EXPECT_EQ(random.next(), 0x6E789E6AA1B965F4U);
}

TEST(Random, OtherKeysGiveOtherNumbers) {
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    for (uint64_t step = 0; step < 64; ++step) {
      for (uint64_t purpose = 0; purpose < 4; ++purpose) {
        Random random(seed, {step, purpose});
        EXPECT_TRUE(seen.insert(random.next()).second);
      }
    }
  }
}

TEST(Random, NumbersBelowACountAreAlikeLikely) {
  Random random(1, {});
  std::vector<int> counts(7);
  for (int i = 0; i < 70'000; ++i) ++counts[static_cast<size_t>(random.below(7))];
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 400);  // 4 standard deviations
}

TEST(Random, ChancesAndBoundsHold) {
  Random random(2, {5});
  int hits = 0;
  for (int i = 0; i < 40'000; ++i) {
    const double value = random.uniform();
    EXPECT_GE(value, 0);
    EXPECT_LT(value, 1);
    hits += random.chance(0.25) ? 1 : 0;
    const int64_t between = random.between(-2, 2);
    EXPECT_GE(between, -2);
    EXPECT_LE(between, 2);
  }
  EXPECT_NEAR(hits, 10'000, 350);
  EXPECT_FALSE(random.chance(0));
  EXPECT_TRUE(random.chance(1));
}

TEST(Random, ShufflingKeepsAllAndReachesEveryOrder) {
  Random random(3, {});
  std::set<std::vector<int>> orders;
  for (int i = 0; i < 600; ++i) {
    std::vector<int> values(4);
    std::iota(values.begin(), values.end(), 0);
    random.shuffle(values);
    orders.insert(values);
    std::sort(values.begin(), values.end());
    EXPECT_EQ(values, (std::vector<int>{0, 1, 2, 3}));
  }
  EXPECT_EQ(orders.size(), 24U);
}

}  // namespace
}  // namespace msa::samples
