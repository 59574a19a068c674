#include "msa/engine/heaviest_first.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "msa/kernels/exponentials.h"

namespace msa::engine {
namespace {

struct Logits {
  std::string name;
  std::vector<float> value;
};

std::vector<Logits> logits_of_many_kinds() {
  constexpr size_t kTokens = 20'011;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const auto spread = [&](float size) {
    std::vector<float> value(kTokens);
    for (float& logit : value) logit = size * normal(random);
    return value;
  };
  std::vector<Logits> all = {{"one token", {3.0F}},
                             {"random", spread(1)},
                             {"wide", spread(12)},
                             {"nearly flat", spread(0.003F)},
                             {"equal", std::vector<float>(kTokens, -2.5F)},
                             {"peaked", spread(2)},
                             {"one in fifty seen", spread(3)},
                             {"few values", spread(2)},
                             {"all but one unseen", std::vector<float>(kTokens, -INFINITY)}};
  for (int i = 0; i < 40; ++i) all[5].value[random() % kTokens] = 40.0F - 0.3F * i;
  for (size_t i = 0; i < kTokens; ++i) {
    if (i % 50 != 7) all[6].value[i] = -INFINITY;
    all[7].value[i] = std::round(all[7].value[i]);
  }
  all[8].value[12'345] = 1;
  return all;
}

TEST(HeaviestFirst, FindsTheTokenThatASortOfAllFinds) {
  HeaviestFirst order;  // one for all: nothing is left of the logits before
  for (const auto& [name, logits] : logits_of_many_kinds()) {
    for (const float factor : {0.01F, 1.0F, 1.4285715F, 30.0F}) {
      SCOPED_TRACE(testing::Message() << name << ", times " << factor);
      const float highest = *std::max_element(logits.begin(), logits.end());
      std::vector<float> weight(logits.size());
      kernels::exponentials(logits.data(), highest, factor, weight.data(),
                            static_cast<int64_t>(logits.size()));
      std::vector<int32_t> sorted(logits.size());
      std::iota(sorted.begin(), sorted.end(), 0);
      std::ranges::stable_sort(sorted, [&](auto a, auto b) { return weight[a] > weight[b]; });
      std::vector<double> sums;
      double sum = 0;
      for (const int32_t token : sorted) sums.push_back(sum += static_cast<double>(weight[token]));

      order.weigh(logits, highest, factor);
      EXPECT_NEAR(order.total(), sum, 1e-12 * sum);
      std::mt19937 random(11);
      for (int i = 0; i < 200; ++i) {
        // The beginning, the end, and the places between.
        const double share = i == 0 ? 1e-300 : i == 1 ? 1.0 : std::ldexp(random(), -32);
        const double wanted = share * order.total();
        const HeaviestFirst::Place found = order.find(wanted);
        // Sums in another order differ by their rounding: a token next to the limit may be either.
        const auto first = std::ranges::lower_bound(sums, wanted - 1e-12 * sum) - sums.begin();
        const auto last = std::ranges::lower_bound(sums, wanted + 1e-12 * sum) - sums.begin();
        const auto place = std::find(sorted.begin() + first, sorted.end(), found.token);
        ASSERT_NE(place, sorted.end()) << share;
        ASSERT_LE(place - sorted.begin(), last) << share;
        EXPECT_GT(weight[found.token], 0.0F) << share;
        EXPECT_NEAR(found.sum, sums[place - sorted.begin()], 1e-12 * sum) << share;
        EXPECT_GE(found.sum, wanted);
        EXPECT_LE(found.sum, order.total());
        // A token may be too light to change the sum.
        const auto again = std::ranges::find(sorted, order.find(found.sum).token);
        EXPECT_LE(again, place) << share;
        EXPECT_NEAR(sums[again - sorted.begin()], found.sum, 1e-12 * sum) << share;
      }
    }
  }
}

}  // namespace
}  // namespace msa::engine
