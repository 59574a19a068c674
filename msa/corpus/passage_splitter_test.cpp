#include "msa/corpus/passage_splitter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/text/unicode.h"

namespace msa::corpus {
namespace {

const text::Tokenizer& tokenizer(const std::string& name) {
  static std::map<std::string, std::unique_ptr<text::Tokenizer>> loaded;
  auto& entry = loaded[name];
  if (!entry) {
    entry =
        text::Tokenizer::load(real_file_system(), source_folder() / "tests/data/tokenizer" / name);
  }
  return *entry;
}

std::string part(const std::string& text, const Span& span) {
  return text.substr(static_cast<size_t>(span.start), static_cast<size_t>(span.end - span.start));
}

int64_t count_tokens(const std::string& text, const std::string& name = "qwen2") {
  return static_cast<int64_t>(tokenizer(name).encode(text).size());
}

std::vector<std::string> passages_of(const std::string& text, int64_t max_tokens) {
  std::vector<std::string> passages;
  for (const Span& span : split_passages(text, tokenizer("qwen2"), {.max_tokens = max_tokens})) {
    passages.push_back(part(text, span));
  }
  return passages;
}

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string without_blanks(std::string text) {
  std::erase_if(text, is_blank);
  return text;
}

/// Everything that the contract promises of any text.
void expect_well_split(const std::string& text, int64_t max_tokens, const std::string& name) {
  const auto spans = split_passages(text, tokenizer(name), {.max_tokens = max_tokens});
  EXPECT_EQ(spans, split_passages(text, tokenizer(name), {.max_tokens = max_tokens}));
  int64_t covered = 0;
  std::string held;
  for (const Span& span : spans) {
    ASSERT_GE(span.start, covered);
    ASSERT_LT(span.start, span.end);
    ASSERT_LE(span.end, static_cast<int64_t>(text.size()));
    const std::string passage = part(text, span);
    EXPECT_FALSE(text::find_invalid_utf8(passage).has_value());
    EXPECT_FALSE(is_blank(passage.front()) || is_blank(passage.back()));
    EXPECT_LE(count_tokens(passage, name), max_tokens) << passage;
    held += passage;
    covered = span.end;
  }
  EXPECT_EQ(without_blanks(held), without_blanks(text));
  const size_t first = text.find_first_not_of(" \t\n\v\f\r");
  if (first == std::string::npos) {
    EXPECT_TRUE(spans.empty());
    return;
  }
  const std::string trimmed = text.substr(first, text.find_last_not_of(" \t\n\v\f\r") + 1 - first);
  EXPECT_EQ(count_tokens(trimmed, name) <= max_tokens, spans.size() == 1);
}

using Passages = std::vector<std::string>;

TEST(SplitPassages, AShortTextIsOnePassageWithoutTheBlanksAroundIt) {
  EXPECT_EQ(passages_of(" \n One line.\n\nAnother. \r\n", 480), Passages{"One line.\n\nAnother."});
  EXPECT_EQ(passages_of("x", 8), Passages{"x"});
  EXPECT_EQ(passages_of("", 8), Passages{});
  EXPECT_EQ(passages_of(" \t\r\n\v\f", 8), Passages{});
}

TEST(SplitPassages, ATextOfExactlyTheLimitIsOnePassage) {
  std::string text = "one";
  while (count_tokens(text) < 40) text += " two";
  ASSERT_EQ(count_tokens(text), 40);
  EXPECT_EQ(passages_of(text, 40).size(), 1U);
  EXPECT_EQ(passages_of(text, 39).size(), 2U);
}

TEST(SplitPassages, ALongRunOfBlanksWithinAFittingTextDoesNotCutIt) {
  const std::string text = "one" + std::string(100'000, ' ') + "two";
  ASSERT_LT(count_tokens(text), 2000);
  EXPECT_EQ(passages_of(text, 2000), Passages{text});
}

TEST(SplitPassages, CutsAtTheBestBorderInReach) {
  const std::string four = "One two three four";
  // Every text has lesser borders in reach too, later than the better one.
  EXPECT_EQ(passages_of(four + " " + four + ".\n\n" + four + ".\nOne. two " + four, 20).front(),
            four + " " + four + ".");
  EXPECT_EQ(
      passages_of(four + " " + four + ".\n \n" + four + ". " + four + "\n" + four, 15).front(),
      four + " " + four + ".");
  EXPECT_EQ(passages_of(four + " " + four + "\n" + four + ". " + four, 15).front(),
            four + " " + four);
  EXPECT_EQ(passages_of(four + " " + four + ".\" " + four + " " + four, 15).front(),
            four + " " + four + ".\"");
  EXPECT_EQ(passages_of(four + " " + four + " " + four + " " + four, 15).front(),
            four + " " + four + " " + four + " One two three");
}

TEST(SplitPassages, CutsAtFullWidthSentenceEndsAndElseBetweenCharacters) {
  const std::string character = "\xE5\xAD\x97", stop = "\xE3\x80\x82";
  std::string sentence;
  for (int i = 0; i < 10; ++i) sentence += character;
  sentence += stop;
  std::string text;
  for (int i = 0; i < 20; ++i) text += sentence;
  for (const std::string& passage : passages_of(text, 50)) {
    EXPECT_TRUE(passage.ends_with(stop)) << passage;
  }
  text.clear();
  for (int i = 0; i < 500; ++i) text += character;
  expect_well_split(text, 50, "qwen2");
}

TEST(SplitPassages, FillsEachPassageAsFarAsWordsGo) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "word ";
  const auto passages = passages_of(text, 100);
  for (size_t i = 0; i + 1 < passages.size(); ++i) EXPECT_GE(count_tokens(passages[i]), 99);
  EXPECT_LE(passages.size(), 31U);
}

TEST(SplitPassages, KeepsItsPromisesOnRandomTexts) {
  const std::vector<std::string> parts = {"a",
                                          "word",
                                          " the",
                                          "Wort",
                                          ".",
                                          "!",
                                          "?",
                                          "\"",
                                          ")",
                                          " ",
                                          " ",
                                          " ",
                                          "  ",
                                          "\n",
                                          "\n\n",
                                          "\r\n",
                                          "\t",
                                          "0",
                                          "12345",
                                          "----",
                                          "e\xCC\x81",  // e and a combining accent
                                          "\xC3\xA9",
                                          "\xD0\x96\xD0\xB5",
                                          "\xE5\xAD\x97",
                                          "\xE6\xBC\xA2\xE5\xAD\x97",
                                          "\xE3\x80\x82",
                                          "\xE3\x80\x8D",
                                          "\xEF\xBC\x9F",
                                          "\xE0\xA5\x98",  // one that NFC takes apart
                                          "\xF0\x9F\x98\x80",
                                          "\xF0\x9D\x85\xA0",
                                          "\xC2\xA0",
                                          "\xE3\x80\x80",
                                          "aaaaaaaaaaaaaaaaaaaaaaaa"};
  for (uint32_t seed = 1; seed <= 600; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const size_t num_kinds = 1 + random() % parts.size();  // few kinds: long runs
    std::vector<std::string> kinds;
    for (size_t i = 0; i < num_kinds; ++i) kinds.push_back(parts[random() % parts.size()]);
    std::string text;
    for (uint32_t n = random() % 600; n > 0; --n) text += kinds[random() % num_kinds];
    expect_well_split(text, 12 + static_cast<int64_t>(random() % 100),
                      seed % 2 == 0 ? "qwen2" : "gpt2");
    if (testing::Test::HasFailure()) return;
  }
}

TEST(SplitPassages, KeepsItsPromisesOnRandomCharacters) {
  for (uint32_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::string text;
    for (uint32_t n = random() % 500; n > 0; --n) {
      char32_t c = random() % (random() % 2 == 0 ? 0x110000 : 0x3000);
      if (c >= 0xD800 && c < 0xE000) c = ' ';
      text::append_utf8(c, text);
    }
    expect_well_split(text, 16 + static_cast<int64_t>(random() % 60), "qwen2");
    if (testing::Test::HasFailure()) return;
  }
}

TEST(SplitPassages, KeepsItsPromisesWhereATextIsReadInManyWindows) {
  std::mt19937 random(7);
  std::string text;
  while (text.size() < 400'000) {
    for (uint32_t n = random() % 12; n > 0; --n) text += static_cast<char>('a' + random() % 26);
    const uint32_t end = random() % 60;
    text += end == 0 ? ".\n\n" : end < 4 ? ".\n" : end < 9 ? ". " : " ";
  }
  expect_well_split(text, 480, "qwen2");
  expect_well_split(std::string(200'000, 'a'), 480, "qwen2");
}

TEST(SplitPassages, RefusesALimitThatOneCharacterCouldPass) {
  EXPECT_THROW(split_passages("text", tokenizer("qwen2"), {.max_tokens = 7}), Error);
}

}  // namespace
}  // namespace msa::corpus
