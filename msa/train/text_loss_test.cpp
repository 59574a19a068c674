#include "msa/train/text_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "msa/base/error.h"
#include "msa/train/parameters.h"
#include "msa/train/small_config.h"

namespace msa::train {
namespace {

class TextLossTest : public testing::Test {
 protected:
  TextLossTest()
      : parameters_(Parameters::random(small_config(), 7)),
        math_(parameters_.config(), /*max_positions=*/64, at::kCPU),
        tensors_(gather_tensors(
            parameters_.config(), [&](const std::string& name) { return parameters_.find(name); },
            at::kFloat)) {}

  TextLoss loss(const std::vector<ScoredText>& texts) const {
    return text_loss(math_, tensors_, texts, at::kFloat, at::kCPU);
  }

  ScoredText random_text(int64_t length) {
    ScoredText text{.tokens = {}, .first = 1, .end = length};
    for (int64_t i = 0; i < length; ++i) {
      text.tokens.push_back(static_cast<int32_t>(random_() % 40));
    }
    return text;
  }

  Parameters parameters_;
  LayerMath math_;
  ModelTensors tensors_;
  std::mt19937_64 random_{3};
};

TEST_F(TextLossTest, IsTheSumOverPrefixesThatKnowNothingOfWhatComes) {
  const ScoredText text = random_text(9);
  double sum = 0;
  for (int64_t end = 2; end <= 9; ++end) {
    ScoredText prefix = text;
    prefix.tokens.resize(static_cast<size_t>(end));
    prefix.first = end - 1;
    prefix.end = end;
    sum += loss({prefix}).nats;
  }
  const TextLoss whole = loss({text});
  EXPECT_EQ(whole.num_tokens, 8);
  EXPECT_NEAR(whole.nats, sum, 1e-4);
}

TEST_F(TextLossTest, DoesNotDependOnWhatElseIsRead) {
  std::vector<ScoredText> texts;
  double sum = 0;
  for (int64_t i = 0; i < 30; ++i) {
    texts.push_back(random_text(1 + 2 * i));
    texts.back().end -= i % 2;
    sum += loss({texts.back()}).nats;
  }
  for (const int64_t max_pass_tokens : {1, 59, 100, 10'000}) {
    const TextLoss all = text_loss(math_, tensors_, texts, at::kFloat, at::kCPU, max_pass_tokens);
    EXPECT_NEAR(all.nats, sum, 1e-5 * sum);
    EXPECT_EQ(all.num_tokens, 2 * (29 * 30 / 2) - 15);
  }
}

TEST_F(TextLossTest, AModelThatKnowsNothingNeedsTheWholeVocabulary) {
  for (const auto& parameter : parameters_.all()) {
    if (parameter.name == "model.norm.weight") parameter.tensor.detach().zero_();
  }
  const TextLoss blind = loss({random_text(30), random_text(12)});
  EXPECT_NEAR(blind.nats / static_cast<double>(blind.num_tokens), std::log(40), 1e-6);
}

TEST_F(TextLossTest, NothingToForetell) {
  EXPECT_EQ(loss({}).num_tokens, 0);
  EXPECT_EQ(loss({random_text(1)}).num_tokens, 0);
  ScoredText text = random_text(4);
  text.first = 0;
  EXPECT_THROW(loss({text}), Error);
}

}  // namespace
}  // namespace msa::train
