#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/test_values.h"
#include "msa/kernels/token_loss.h"

namespace msa::kernels {
namespace {

struct Losses {
  std::vector<float> gradient;
  std::vector<float> loss;
};

Losses losses_of(const std::vector<BFloat16>& logits, const std::vector<int64_t>& target,
                 const std::vector<float>& weight) {
  const auto num_tokens = static_cast<int64_t>(target.size());
  const auto device_logits = to_device(logits);
  const auto device_target = to_device(target);
  const auto device_weight = to_device(weight);
  const auto loss = unwritten_array<float>(target.size());
  token_loss_cuda({.logits = device_logits.get(),
                   .target = device_target.get(),
                   .weight = weight.empty() ? nullptr : device_weight.get(),
                   .loss = loss.get(),
                   .num_tokens = num_tokens,
                   .vocab_size = static_cast<int64_t>(logits.size()) / num_tokens},
                  nullptr);
  return {widened(to_host(device_logits, logits.size())), to_host(loss, target.size())};
}

// Each way of holding a row: 128 to 512 threads, one block with many eights, clusters of 2, 4 and
// 8, and rows that are read twice.
constexpr int64_t kVocabSizes[] = {8, 504, 4096, 8192, 16384, 16392, 65536, 151936, 327680, 327688};

TEST(TokenLossCuda, LossAndGradientEqualADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const int64_t vocab_size : kVocabSizes) {
    const int64_t last = vocab_size - 1;
    const std::vector<int64_t> target{0, last, -1, last / 2, last / 3, last / 5};
    const std::vector<float> weight{1, 0.25F, 3, 0, -2, 1000};
    const auto num_tokens = static_cast<int64_t>(target.size());
    auto logits = rounded(random_floats(num_tokens * vocab_size, 4, 3));
    logits[last] = to_bfloat16(30000);                    // the others' powers are zeros
    logits[vocab_size + last / 2] = to_bfloat16(-30000);  // and one that is
    std::vector<double> wanted;
    std::vector<double> wanted_loss;
    for (int64_t t = 0; t < num_tokens; ++t) {
      const auto logit = [&](int64_t i) -> double { return to_float(logits[t * vocab_size + i]); };
      double highest = logit(0);
      for (int64_t i = 0; i < vocab_size; ++i) highest = std::max(highest, logit(i));
      double sum = 0;
      for (int64_t i = 0; i < vocab_size; ++i) sum += std::exp(logit(i) - highest);
      const bool is_learned = target[t] >= 0;
      const double logarithm = highest + std::log(sum);
      wanted_loss.push_back(is_learned ? logarithm - logit(target[t]) : 0);
      for (int64_t i = 0; i < vocab_size; ++i) {
        const double difference = std::exp(logit(i) - logarithm) - (i == target[t] ? 1 : 0);
        wanted.push_back(is_learned ? weight[t] * difference : 0);
      }
    }
    const std::string name = std::to_string(vocab_size) + " logits";
    const Losses got = losses_of(logits, target, weight);
    expect_near(got.gradient, wanted, {.relative = 1.0 / 250, .absolute = 1e-9}, name);
    expect_near(got.loss, wanted_loss, {.relative = 1e-5, .absolute = 1e-5}, name);
    const Losses again = losses_of(logits, target, weight);
    EXPECT_EQ(got.gradient, again.gradient) << name;
    EXPECT_EQ(got.loss, again.loss) << name;
    const Losses alone = losses_of(logits, target, {});
    EXPECT_EQ(alone.gradient, widened(logits)) << name;
    EXPECT_EQ(alone.loss, got.loss) << name;
  }
}

TEST(TokenLossCuda, WhatIsNoNumberStaysInItsRow) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kTokens = 3;
  for (const int64_t vocab_size : kVocabSizes) {
    for (const float bad : {NAN, INFINITY}) {
      auto logits = rounded(random_floats(kTokens * vocab_size, 4));
      logits[vocab_size + vocab_size / 2] = to_bfloat16(bad);
      logits[2] = to_bfloat16(-INFINITY);  // a token that cannot be
      const Losses got = losses_of(logits, {1, 1, 1}, {1, 1, 1});
      for (int64_t t = 0; t < kTokens; ++t) {
        EXPECT_EQ(std::isnan(got.loss[t]), t == 1) << vocab_size << " logits, row " << t;
        for (int64_t i = 0; i < vocab_size; ++i) {
          ASSERT_EQ(std::isnan(got.gradient[t * vocab_size + i]), t == 1)
              << vocab_size << " logits, row " << t << " at " << i;
        }
      }
      EXPECT_EQ(got.gradient[2], 0);
    }
  }
}

TEST(TokenLossCuda, OtherRowsAreRefused) {
  EXPECT_THROW(token_loss_cuda({.num_tokens = 1, .vocab_size = 12}, nullptr), Error);
  EXPECT_THROW(token_loss_cuda({.num_tokens = int64_t{1} << 30, .vocab_size = 8}, nullptr), Error);
}

}  // namespace
}  // namespace msa::kernels
