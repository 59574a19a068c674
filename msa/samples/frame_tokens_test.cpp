// Tokens of frames against those of the layout itself.

#include "msa/samples/frame_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/corpus/passage_text.h"
#include "msa/samples/corpus_fixture.h"
#include "msa/text/unicode.h"

namespace msa::samples {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::vector<int32_t> framed(const FrameEncoder& encoder, const FrameTokens& frames, Title title,
                            Frame frame, int64_t id) {
  std::vector<int32_t> tokens;
  encoder.open(frame, id, tokens);
  for (const auto* part : {&frames.head(title), &frames.body, &frames.tail(title, frame)}) {
    tokens.insert(tokens.end(), part->begin(), part->end());
  }
  encoder.close(frame, id, tokens);
  return tokens;
}

std::vector<int32_t> appended(const text::PromptLayout& layout, int64_t id,
                              const std::string& text) {
  const std::vector<text::AppendedText> texts{{.id = id, .text = text}};
  auto tokens = layout.appended_texts(texts).tokens;
  tokens.pop_back();  // closes all texts together
  return tokens;
}

void expect_layout(const FrameEncoder& encoder, const std::string& title,
                   const std::string& passage, int64_t id) {
  const FrameTokens frames = encoder.encode(title, passage);
  const text::PromptLayout& layout = encoder.layout();
  for (const auto shown : {Title::kShown, Title::kHidden}) {
    const std::string text =
        shown == Title::kShown ? corpus::passage_text(title, passage) : passage;
    const auto document = framed(encoder, frames, shown, Frame::kDocument, id);
    ASSERT_EQ(document, layout.document(id, text).tokens) << id << " " << text;
    ASSERT_EQ(framed(encoder, frames, shown, Frame::kAppended, id), appended(layout, id, text))
        << id << " " << text;
    const auto digits = static_cast<int64_t>(std::to_string(id).size());
    ASSERT_EQ(static_cast<int64_t>(document.size()),
              FrameEncoder::num_added(Frame::kDocument, digits) +
                  static_cast<int64_t>(frames.head(shown).size() + frames.body.size() +
                                       frames.tail(shown, Frame::kDocument).size()));
  }
  ASSERT_EQ(frames.num_text_tokens, static_cast<int64_t>(layout.tokenizer().encode(passage).size()))
      << passage;
}

/// Characters that join with what is next to them in one way or another.
const std::vector<std::string>& characters() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> some;
    for (char c = ' '; c <= '~'; ++c) some.emplace_back(1, c);
    for (const char* c :
         {"\n",         "\r\n",       "\t",           "\v",     "  ",           "\n\n",
          " the",       ". ",         "'s",           "'ll",    "\u00e9",       "e\u0301",
          "\u0301",     "\u0338",     "\u212b",       "\u0f43", "\u0958",       "\u1100\u1161",
          "\u11a8",     "\uac00",     "\u304b",       "\u3099", "\u4e2d\u6587", "\u3002",
          "\u3001",     "\uff0c",     "\u0661",       "\u00bd", "\u2019",       "\u201c",
          "\u00a0",     "\u3000",     "\u0430\u0431", "\u05d0", "\u0627",       "\u0e01",
          "\U0001d7d8", "\U0001f600", "\u200d",       "\ufeff", "<|im_end|>"}) {
      some.emplace_back(c);
    }
    return some;
  }();
  return all;
}

const std::filesystem::path kRepository = source_folder();

const text::PromptLayout& proto() {
  static const LoadedLayout loaded(kRepository / "models/msa-tiny");
  return loaded.layout();
}

const text::PromptLayout& qwen2() {
  static const auto loaded =
      LoadedLayout::with_special(kRepository / "tests/data/tokenizer/qwen2", 151643);
  return loaded->layout();
}

using LayoutOf = const text::PromptLayout& (*)();

class FrameTokensTest : public testing::TestWithParam<LayoutOf> {
 protected:
  FrameTokensTest() : encoder_(GetParam()()) {}

  int64_t below(int64_t end) { return std::uniform_int_distribution<int64_t>(0, end - 1)(random_); }

  std::string random_text(int64_t max_characters) {
    std::string text;
    // Runs of letters too: most places are within words.
    for (int64_t left = below(max_characters) + 1; left > 0; --left) {
      if (below(3) == 0) {
        text += characters()[static_cast<size_t>(below(std::ssize(characters())))];
      } else {
        text += static_cast<char>('a' + below(26));
      }
    }
    return text;
  }

  int64_t random_id() {
    int64_t end = 10;
    for (int64_t more = below(7); more > 0; --more) end *= 10;
    return end == 10 ? below(10) : end / 10 + below(end - end / 10);
  }

  FrameEncoder encoder_;
  std::mt19937_64 random_{2603};
};

TEST_P(FrameTokensTest, AreTheLayoutsForAnyTextTitleAndId) {
  for (int n = 0; n < 6000; ++n) {
    const std::string title = below(4) == 0 ? "" : random_text(n % 2 == 0 ? 3 : 30);
    const std::string text = random_text(n % 3 == 0 ? 4 : n % 3 == 1 ? 40 : 400);
    ASSERT_NO_FATAL_FAILURE(expect_layout(encoder_, title, text, random_id()));
  }
}

TEST_P(FrameTokensTest, AreTheLayoutsWithEveryPairOfCharactersAtBothEnds) {
  for (const std::string& first : characters()) {
    for (const std::string& second : characters()) {
      ASSERT_NO_FATAL_FAILURE(
          expect_layout(encoder_, second, first + second + "x, y" + first + second, 4096));
      if (HasFatalFailure()) return;
    }
    ASSERT_NO_FATAL_FAILURE(expect_layout(encoder_, "", first, 10));
    ASSERT_NO_FATAL_FAILURE(expect_layout(encoder_, first, first, 1234567));
  }
}

TEST_P(FrameTokensTest, LeaveOutATitleThatThePassageBeginsWith) {
  expect_layout(encoder_, "Moon", "# Moon\nIt is far, it is round.", 12);
  expect_layout(encoder_, std::string(300, 'x') + "\u00e9", "It is far, it is round.", 12);
}

TEST_P(FrameTokensTest, ShareOneBodyWhereAWordEndsAtAMark) {
  const FrameTokens frames =
      encoder_.encode("Moon", "It is far, and it is round. Nobody lives there (yet).");
  EXPECT_THAT(frames.body, Not(IsEmpty()));
  EXPECT_GT(frames.body.size(), frames.tail(Title::kShown, Frame::kDocument).size());
  EXPECT_EQ(frames.tails[0], frames.tails[1]);
  EXPECT_THAT(encoder_.encode("\u6708", "\u4e2d\u6587\u3002\u4e2d\u6587\u3002\u4e2d").body,
              Not(IsEmpty()));
}

TEST_P(FrameTokensTest, RefuseWhatIsNoPassage) {
  EXPECT_THROW(encoder_.encode("Moon", ""), Error);
  EXPECT_THROW(encoder_.encode("Moon", "\xff"), Error);
  std::vector<int32_t> tokens;
  EXPECT_THROW(encoder_.open(Frame::kDocument, -1, tokens), Error);
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, FrameTokensTest, testing::Values(&proto, &qwen2),
                         [](const auto& one) { return one.param == &proto ? "Proto" : "Qwen2"; });

TEST(FrameEncoder, RefusesATokenizerThatWritesNumbersInOnePiece) {
  // Its rule of splitting keeps the digits of a number together.
  const auto gpt2 = LoadedLayout::with_special(kRepository / "tests/data/tokenizer/gpt2", 50256);
  try {
    const FrameEncoder encoder(gpt2->layout());
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr("a number is not its digits in \"10\""));
  }
}

}  // namespace
}  // namespace msa::samples
