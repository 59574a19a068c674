#include "msa/corpus/words.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace msa::corpus {
namespace {

std::vector<std::string> texts_of(const std::string& text) {
  std::vector<std::string> texts;
  for (const Word& word : words_of(text)) texts.push_back(word.text);
  return texts;
}

using Texts = std::vector<std::string>;

TEST(WordsOf, TakesRunsOfLettersNumbersAndUnderscoresInLowerCase) {
  EXPECT_EQ(texts_of("Hello, snake_case World-2x!"), (Texts{"hello", "snake_case", "world", "2x"}));
  EXPECT_EQ(texts_of("don't"), (Texts{"don", "t"}));
  EXPECT_EQ(texts_of(" ... \n"), Texts{});
  EXPECT_EQ(texts_of(""), Texts{});
}

TEST(WordsOf, KnowsLettersAndNumbersBeyondAscii) {
  EXPECT_EQ(texts_of("\xC3\x89TUDE \xCE\xA3"), (Texts{"\xC3\xA9tude", "\xCF\x83"}));
  EXPECT_EQ(texts_of("x\xC2\xB2"), (Texts{"x\xC2\xB2"}));  // superscript two
  EXPECT_EQ(texts_of("a\xE2\x80\x94"
                     "b"),
            (Texts{"a", "b"}));                          // em dash
  EXPECT_EQ(texts_of("e\xCC\x81t"), (Texts{"e", "t"}));  // a mark is no letter
}

TEST(WordsOf, TellsTheBytesThatEachWordCameFrom) {
  const std::string text = "  \xC3\x89t\xC3\xA9, Two";
  const auto words = words_of(text);
  ASSERT_EQ(words.size(), 2U);
  EXPECT_EQ(words[0].start, 2);
  EXPECT_EQ(words[0].end, 7);
  EXPECT_EQ(words[1].start, 9);
  EXPECT_EQ(words[1].end, 12);
}

TEST(WordsOf, EndsAWordBehindATurkishCapitalIWithADot) {
  EXPECT_EQ(texts_of("\xC4\xB0zmir x\xC4\xB0"), (Texts{"i", "zmir", "xi"}));
  const auto words = words_of("\xC4\xB0zmir");
  EXPECT_EQ(words[0].end, 2);
  EXPECT_EQ(words[1].start, 2);
}

TEST(LowerCase, MapsTheTurkishCapitalIWithADotToTwoCharacters) {
  EXPECT_EQ(lower_case("\xC4\xB0z"), "i\xCC\x87z");
}

TEST(LowerCase, MapsASigmaThatEndsAWordToTheFinalOne) {
  const std::string capital = "\xCE\xA3", small = "\xCF\x83", last = "\xCF\x82";
  EXPECT_EQ(lower_case("A" + capital), "a" + last);
  EXPECT_EQ(lower_case("A" + capital + " B"), "a" + last + " b");
  EXPECT_EQ(lower_case("A" + capital + "B"), "a" + small + "b");
  EXPECT_EQ(lower_case(capital), small);
  EXPECT_EQ(lower_case("1" + capital), "1" + small);
  EXPECT_EQ(lower_case("A\xCC\x81" + capital + "'"), "a\xCC\x81" + last + "'");
  EXPECT_EQ(lower_case("A" + capital + "'B"), "a" + small + "'b");
}

TEST(LowerCase, KeepsAllButUpperCaseLetters) {
  EXPECT_EQ(lower_case("A-B \xC3\x89 \xE2\x82\xAC 9"), "a-b \xC3\xA9 \xE2\x82\xAC 9");
}

}  // namespace
}  // namespace msa::corpus
