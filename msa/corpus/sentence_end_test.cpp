#include "msa/corpus/sentence_end.h"

#include <gtest/gtest.h>

#include <string>

namespace msa::corpus {
namespace {

/// The text with a | at every place where a sentence ends.
std::string marked(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (ends_sentence(text, static_cast<int64_t>(i))) result += '|';
    result += text[i];
  }
  return ends_sentence(text, static_cast<int64_t>(text.size())) ? result + '|' : result;
}

TEST(EndsSentence, EndsAtMarksBeforeABlankOrTheEnd) {
  EXPECT_EQ(marked("One. Two! Three?\nFour."), "One.| Two!| Three?|\nFour.|");
  EXPECT_EQ(marked("pi is 3.14, e.g.this"), "pi is 3.14, e.g.this");
  EXPECT_EQ(marked("Wait... What?!"), "Wait...| What?!|");
  EXPECT_EQ(marked(""), "");
  EXPECT_EQ(marked("no end"), "no end");
}

TEST(EndsSentence, TakesClosingQuotesAndBracketsAlong) {
  EXPECT_EQ(marked("\"Go.\" He (she?) went."), "\"Go.\"| He (she?)| went.|");
  EXPECT_EQ(marked("\xE2\x80\x9CGo!\xE2\x80\x9D Yes"), "\xE2\x80\x9CGo!\xE2\x80\x9D| Yes");
  EXPECT_EQ(marked("''''''''' x"), "''''''''' x");
}

TEST(EndsSentence, EndsAtFullWidthMarksBeforeAnything) {
  const std::string stop = "\xE3\x80\x82", open = "\xE3\x80\x8C", close = "\xE3\x80\x8D";
  EXPECT_EQ(marked("a" + stop + "b"), "a" + stop + "|b");
  EXPECT_EQ(marked(open + "a" + stop + close + "b"), open + "a" + stop + close + "|b");
}

TEST(EndsSentence, DoesNotEndBehindInitialsAndTitles) {
  EXPECT_EQ(marked("Dr. J. R. Smith left. He ran."), "Dr. J. R. Smith left.| He ran.|");
  EXPECT_EQ(marked("the U.S. Army"), "the U.S. Army");
  EXPECT_EQ(marked("In St. Louis. Last. X"), "In St. Louis.| Last.| X");
}

TEST(EndsSentence, DoesNotEndBeforeALowerCaseLetter) {
  EXPECT_EQ(marked("approx. three cm. Then"), "approx. three cm.| Then");
  EXPECT_EQ(marked("Really? yes"), "Really?| yes");
}

}  // namespace
}  // namespace msa::corpus
