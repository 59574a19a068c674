#include "msa/engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "msa/base/error.h"

namespace msa::engine {
namespace {

TEST(Sampler, TemperatureZeroTakesTheLargestAndTiesGoToTheLowerToken) {
  Sampler sampler({});
  const std::vector<float> logits{0.5F, 2.0F, 2.0F, -1.0F};
  EXPECT_EQ(sampler.sample(logits), 1);
}

TEST(Sampler, TheColdestTemperatureDrawsTheLargest) {
  Sampler sampler({.temperature = 1e-300, .seed = 5});
  const std::vector<float> logits{1.0F, 1.0000001F, -3.0F, -INFINITY};
  for (int i = 0; i < 20; ++i) EXPECT_EQ(sampler.sample(logits), 1);
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

/// splitmix64, to [0, 1).
double uniform(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15U);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
}

/// Sorted whole and weighed in double: what the sampler must draw.
int32_t drawn(const std::vector<float>& logits, double temperature, double top_p, double share) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  std::vector<double> weight;
  double total = 0;
  for (const int32_t token : order) {
    weight.push_back(std::exp((logits[token] - logits[order.front()]) / temperature));
    total += weight.back();
  }
  double kept = 0;
  size_t count = 0;
  while (count < order.size() && kept < top_p * total) kept += weight[count++];
  double left = share * kept;
  for (size_t i = 0; i < count; ++i) {
    left -= weight[i];
    if (left < 0) return order[i];
  }
  return order[count - 1];
}

TEST(Sampler, DrawsFromManyTokensAsASortOfAllWould) {
  constexpr size_t kTokens = 3'000;
  std::vector<float> random(kTokens);
  for (size_t i = 0; i < kTokens; ++i) {  // with equals
    random[i] = static_cast<float>((i * 2'654'435'761U) % 4'099) / 400.0F;
  }
  std::vector<float> peaked = random;
  peaked[1'234] = peaked[77] = 22;
  peaked[5] = 21;
  std::vector<float> unseen = random;
  for (size_t i = 0; i < kTokens; i += 3) unseen[i] = -INFINITY;
  std::vector<float> flat = random;
  for (float& logit : flat) logit /= 1'000;
  for (const auto& logits : {random, peaked, unseen, flat, std::vector<float>(kTokens, 4.0F)}) {
    for (const double top_p : {1.0, 0.97, 0.3, 1e-9}) {
      Sampler sampler({.temperature = 0.8, .top_p = top_p, .seed = 9});
      uint64_t state = 9;
      for (int i = 0; i < 60; ++i) {
        EXPECT_EQ(sampler.sample(logits), drawn(logits, 0.8, top_p, uniform(state))) << i;
      }
    }
  }
}

TEST(LogSumExp, EqualsADoubleLoop) {
  for (const size_t count : {size_t{1}, size_t{17}, size_t{151'936}}) {
    std::vector<float> logits(count);
    for (size_t i = 0; i < count; ++i) {
      logits[i] = 12.0F * std::sin(static_cast<float>(i)) + 300.0F;
    }
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - 300);
    EXPECT_NEAR(log_sum_exp(logits), 300 + std::log(sum), 1e-6) << count;
  }
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
