#include "msa/engine/answer_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/text/answer_protocol.h"

namespace msa::engine {
namespace {

using Tokens = std::vector<int32_t>;

/// The embedded model after it has read a text that says nothing of what is asked.
class AnswerWriter : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = LoadedModel::load(
                 real_file_system(),
                 {.folder = source_folder() / "models/msa-tiny", .transformer = {}, .gpu = nullptr})
                 .release();
  }
  static void TearDownTestSuite() { delete model_; }

  void SetUp() override {
    const text::PromptLayout& layout = model_->layout();
    const std::string question = "who wrote the Necronomicon?";
    const int64_t ids[] = {7};
    const text::AppendedText texts[] = {
        {7, "Harvest Moon: The harvest moon is the full moon nearest to the autumn equinox."}};
    text::Prompt prompt = layout.question(question);
    prompt.append(layout.named_documents(ids));
    prompt.append(layout.appended_texts(texts));
    before_ = prompt.tokens;
    const Tokens& end = layout.end_of_retrieve();
    before_.insert(before_.end(), end.begin(), end.end());
    const Tokens asked = layout.answer_prompt(question).tokens;
    before_.insert(before_.end(), asked.begin(), asked.end());
  }

  WrittenAnswer write(const AskOptions& options,
                      const std::function<void(std::string_view)>& on_text = {}) const {
    const auto session = model_->new_session(nullptr);
    return write_answer(*model_, *session, session->extend(before_), options, on_text);
  }

  /// Log-probabilities of the token behind `tokens`, by a session of its own.
  std::vector<double> next(const Tokens& tokens) const {
    const auto session = model_->new_session(nullptr);
    const auto logits = session->extend(tokens);
    std::vector<double> wide(logits.begin(), logits.end());
    const double highest = *std::max_element(wide.begin(), wide.end());
    double sum = 0;
    for (const double logit : wide) sum += std::exp(logit - highest);
    for (double& logit : wide) logit -= highest + std::log(sum);
    return wide;
  }

  bool ends(int32_t token) const {
    return text::ends_response(model_->layout(), model_->config().end_tokens, token);
  }

  /// Greedily behind before_ and `tokens`, until the answer ends.
  Tokens write_plainly(Tokens tokens) const {
    for (;;) {
      Tokens all = before_;
      all.insert(all.end(), tokens.begin(), tokens.end());
      const auto scores = next(all);
      const auto best =
          static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
      if (ends(best)) return tokens;
      tokens.push_back(best);
    }
  }

  /// Tokens of the frame at the front of an answer's tokens.
  size_t frame_length(const Tokens& tokens) const {
    std::string text;
    size_t count = 0;
    while (text.size() < text::kAnswerFrame.size()) {
      text += model_->tokenizer().token_bytes(tokens[count++]);
    }
    EXPECT_EQ(text, text::kAnswerFrame);
    return count;
  }

  static inline LoadedModel* model_ = nullptr;
  Tokens before_;
};

TEST_F(AnswerWriter, ProbabilityOfDecliningIsThatOfItsTokens) {
  const WrittenAnswer written = write({});
  ASSERT_EQ(written.text, text::kUnknownAnswer);
  ASSERT_TRUE(written.decline_probability);
  const Tokens tokens = write_plainly({});
  double log_probability = 0;
  for (size_t i = frame_length(tokens); i < tokens.size(); ++i) {
    Tokens before = before_;
    before.insert(before.end(), tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(i));
    log_probability += next(before)[static_cast<size_t>(tokens[i])];
  }
  EXPECT_NEAR(*written.decline_probability, std::exp(log_probability), 1e-4);
}

TEST_F(AnswerWriter, LessThanWhatIsWantedIsTheNextBestAnswer) {
  const double probability = write({}).decline_probability.value();
  EXPECT_EQ(write({.decline_from = probability - 1e-4}).text, text::kUnknownAnswer);

  const WrittenAnswer other = write({.decline_from = probability + 1e-4});
  const Tokens declined = write_plainly({});
  const size_t frame = frame_length(declined);
  Tokens before = before_;
  before.insert(before.end(), declined.begin(), declined.begin() + static_cast<ptrdiff_t>(frame));
  const auto scores = next(before);
  int32_t best = -1;
  for (int32_t token = 0; token < static_cast<int32_t>(scores.size()); ++token) {
    if (token == declined[frame] || ends(token)) continue;
    if (best < 0 || scores[static_cast<size_t>(token)] > scores[static_cast<size_t>(best)]) {
      best = token;
    }
  }
  Tokens wanted(declined.begin(), declined.begin() + static_cast<ptrdiff_t>(frame));
  wanted.push_back(best);
  wanted = write_plainly(wanted);
  std::string text;
  for (size_t i = frame; i < wanted.size(); ++i) {
    text += model_->tokenizer().token_bytes(wanted[i]);
  }
  EXPECT_EQ(" " + other.text, text);
  EXPECT_NEAR(other.decline_probability.value(), probability, 1e-6);
  EXPECT_GT(other.num_tokens, static_cast<int64_t>(declined.size()));
}

TEST_F(AnswerWriter, PiecesAreTheAnswerAndNothingThatIsTakenBack) {
  for (const double decline_from : {0.0, 1.0}) {
    std::string pieces;
    const WrittenAnswer written =
        write({.decline_from = decline_from}, [&](std::string_view piece) { pieces += piece; });
    EXPECT_EQ(pieces, written.text);
    EXPECT_EQ(written.text == text::kUnknownAnswer, decline_from == 0);
    EXPECT_FALSE(written.is_truncated);
  }
}

TEST_F(AnswerWriter, DrawnAnswersDeclineByTheSameRuleAndFollowFromTheSeed) {
  int num_declined = 0;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    AskOptions options{.temperature = 0.7, .seed = seed};
    const WrittenAnswer drawn = write(options);
    EXPECT_EQ(write(options).text, drawn.text) << seed;
    EXPECT_EQ(drawn.decline_probability.has_value(), drawn.text == text::kUnknownAnswer);
    num_declined += drawn.text == text::kUnknownAnswer;
    options.decline_from = 1;
    EXPECT_NE(write(options).text, text::kUnknownAnswer) << seed;
  }
  EXPECT_GT(num_declined, 0);
}

TEST_F(AnswerWriter, ALimitOfTokensHoldsForEachOfBothAnswers) {
  const auto length = static_cast<int64_t>(write_plainly({}).size());
  EXPECT_EQ(write({.max_answer_tokens = length}).text, text::kUnknownAnswer);
  const WrittenAnswer shorter = write({.max_answer_tokens = length - 1});
  EXPECT_TRUE(shorter.is_truncated);
  EXPECT_FALSE(shorter.decline_probability);
  const WrittenAnswer other = write({.max_answer_tokens = length, .decline_from = 1});
  EXPECT_NE(other.text, text::kUnknownAnswer);
  EXPECT_LE(other.num_tokens, 2 * length + 2);
}

}  // namespace
}  // namespace msa::engine
