#include "msa/corpus/answer_metrics.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "msa/base/error.h"

namespace msa::corpus {
namespace {

using References = std::vector<std::string>;

TEST(NormalizeAnswer, LowersAndDropsPunctuationArticlesAndBlanks) {
  EXPECT_EQ(normalize_answer("  The  Eiffel\tTower, in\nParis! "), "eiffel tower in paris");
  EXPECT_EQ(normalize_answer("an apple and a pear"), "apple and pear");
  EXPECT_EQ(normalize_answer("A, an. The?"), "");
  EXPECT_EQ(normalize_answer(""), "");
}

TEST(NormalizeAnswer, DropsArticlesOnlyAsWholeWords) {
  EXPECT_EQ(normalize_answer("then Anna ate banana"), "then anna ate banana");
}

TEST(NormalizeAnswer, DropsPunctuationBeforeArticles) {
  EXPECT_EQ(normalize_answer("U.S.A."), "usa");
  EXPECT_EQ(normalize_answer("t-he end"), "end");
  EXPECT_EQ(normalize_answer("a_n x"), "x");
  EXPECT_EQ(normalize_answer("the-end"), "theend");
}

TEST(NormalizeAnswer, KeepsPunctuationBeyondAscii) {
  EXPECT_EQ(normalize_answer("the\xE2\x80\x94"
                             "end"),
            "\xE2\x80\x94"
            "end");  // em dash
}

TEST(NormalizeAnswer, LowersAndSplitsBeyondAscii) {
  EXPECT_EQ(normalize_answer("\xC3\x89TUDE"), "\xC3\xA9tude");
  EXPECT_EQ(normalize_answer("one\xC2\xA0two\xE3\x80\x80three"), "one two three");
}

TEST(ExactMatch, HoldsForAnyReference) {
  EXPECT_TRUE(exact_match("The Beatles.", References{"Queen", "beatles"}));
  EXPECT_FALSE(exact_match("Beatles band", References{"Queen", "Beatles"}));
  EXPECT_TRUE(exact_match("the", References{""}));
}

TEST(F1, IsTheHarmonicMeanOverSharedWords) {
  // 2 shared of 3 predicted and 4 wanted: 2 * 2 / 7
  EXPECT_DOUBLE_EQ(f1("red green blue", References{"blue, red, white, black"}), 4.0 / 7.0);
  EXPECT_DOUBLE_EQ(f1("the same words", References{"Same words!"}), 1.0);
}

TEST(F1, CountsARepeatedWordAsOftenAsBothHoldIt) {
  // "x" is shared twice: 2 * 2 / (3 + 2)
  EXPECT_DOUBLE_EQ(f1("x x x", References{"x x"}), 4.0 / 5.0);
}

TEST(F1, TakesTheBestReference) {
  EXPECT_DOUBLE_EQ(f1("red fox", References{"cat", "fox", "red fox den"}), 4.0 / 5.0);
}

TEST(F1, IsZeroWithoutASharedWord) {
  EXPECT_EQ(f1("red", References{"blue"}), 0.0);
  EXPECT_EQ(f1("", References{"blue"}), 0.0);
  EXPECT_EQ(f1("the", References{"a"}), 0.0);
}

TEST(AnswerMetrics, RefuseAnEmptyListOfReferences) {
  EXPECT_THROW(exact_match("x", References{}), Error);
  EXPECT_THROW(f1("x", References{}), Error);
}

}  // namespace
}  // namespace msa::corpus
