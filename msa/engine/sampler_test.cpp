#include "msa/engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "msa/base/error.h"

namespace msa::engine {
namespace {

TEST(Sampler, TemperatureZeroTakesTheLargestAndTiesGoToTheLowerToken) {
  Sampler sampler({});
  const std::vector<float> logits{0.5F, 2.0F, 2.0F, -1.0F};
  EXPECT_EQ(sampler.sample(logits), 1);
}

TEST(Sampler, FrequenciesFollowTheSoftmaxAtTheTemperature) {
  const std::vector<float> logits{1.0F, 0.0F, 2.0F};
  constexpr double kTemperature = 0.7;
  Sampler sampler({.temperature = kTemperature, .seed = 11});
  std::map<int32_t, int> counts;
  constexpr int kDraws = 200'000;
  for (int i = 0; i < kDraws; ++i) ++counts[sampler.sample(logits)];
  double total = 0;
  for (const float logit : logits) total += std::exp(logit / kTemperature);
  for (int32_t token = 0; token < 3; ++token) {
    const double wanted = std::exp(logits[token] / kTemperature) / total;
    const double sigma = std::sqrt(wanted * (1 - wanted) / kDraws);
    EXPECT_NEAR(counts[token] / static_cast<double>(kDraws), wanted, 5 * sigma) << token;
  }
}

TEST(Sampler, TopPKeepsTheSmallestSetThatHoldsTheProbability) {
  const std::vector<float> logits{std::log(0.5F), std::log(0.3F), std::log(0.2F)};
  Sampler sampler({.temperature = 1, .top_p = 0.6, .seed = 3});
  std::map<int32_t, int> counts;
  for (int i = 0; i < 10'000; ++i) ++counts[sampler.sample(logits)];
  EXPECT_EQ(counts.count(2), 0U);
  EXPECT_NEAR(counts[0] / 10'000.0, 0.625, 0.03);
}

TEST(Sampler, EqualSeedsGiveEqualTokens) {
  const std::vector<float> logits(100, 0.0F);
  Sampler first({.temperature = 1, .seed = 42});
  Sampler second({.temperature = 1, .seed = 42});
  Sampler other({.temperature = 1, .seed = 43});
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const int32_t token = first.sample(logits);
    EXPECT_EQ(token, second.sample(logits));
    differs |= token != other.sample(logits);
  }
  EXPECT_TRUE(differs);
}

TEST(Sampler, RefusesValuesOutsideTheirRange) {
  EXPECT_THROW(Sampler({.temperature = -1}), Error);
  EXPECT_THROW(Sampler({.temperature = std::nan("")}), Error);
  EXPECT_THROW(Sampler({.top_p = 0}), Error);
  Sampler sampler({});
  EXPECT_THROW(sampler.sample(std::vector<float>{1.0F, std::nanf("")}), Error);
}

}  // namespace
}  // namespace msa::engine
