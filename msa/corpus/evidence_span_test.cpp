#include "msa/corpus/evidence_span.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "msa/text/unicode.h"

namespace msa::corpus {
namespace {

std::string quote(const std::string& passage, const std::string& question,
                  const std::string& answer) {
  const Span span = find_evidence(passage, question, answer).span;
  return passage.substr(static_cast<size_t>(span.start),
                        static_cast<size_t>(span.end - span.start));
}

TEST(FindEvidence, ReturnsTheSentenceThatHoldsTheAnswer) {
  const std::string passage = "He was born in Ulm. He died in Princeton! Was it in 1955?";
  EXPECT_EQ(quote(passage, "Where?", "Ulm"), "He was born in Ulm.");
  EXPECT_EQ(quote(passage, "Where?", "Princeton"), "He died in Princeton!");
  EXPECT_EQ(quote(passage, "When?", "1955"), "Was it in 1955?");
  EXPECT_TRUE(find_evidence(passage, "When?", "1955").holds_answer);
}

TEST(FindEvidence, IgnoresCaseAndBlanksWithinTheAnswer) {
  const std::string passage = "First. The New   York Times. Last.";
  EXPECT_EQ(quote(passage, "", "new york\ttimes"), "The New   York Times.");
  EXPECT_EQ(quote("One. \xC3\x89TUDE here. Two.", "", "\xC3\xA9tude"), "\xC3\x89TUDE here.");
}

TEST(FindEvidence, OfSeveralHoldingSentencesTakesTheOneWithMostQuestionWords) {
  const std::string passage = "Paris is old. The capital of France is Paris. Paris sleeps.";
  EXPECT_EQ(quote(passage, "What is the capital of France?", "Paris"),
            "The capital of France is Paris.");
  EXPECT_EQ(quote(passage, "", "Paris"),
            "Paris is old.");  // ties go to the first
}

TEST(FindEvidence, PrefersAHoldingSentenceToOneWithMoreSharedWords) {
  EXPECT_EQ(
      quote("The capital of France is large. Paris.", "What is the capital of France?", "Paris"),
      "Paris.");
}

TEST(FindEvidence, WithoutTheAnswerTakesTheSentenceWithMostSharedWords) {
  const std::string passage = "Cats sleep. The river Rhine is long. Dogs bark.";
  EXPECT_EQ(quote(passage, "How long is the river?", "1233 km"), "The river Rhine is long.");
  EXPECT_FALSE(find_evidence(passage, "How long is the river?", "1233 km").holds_answer);
  EXPECT_EQ(quote(passage, "", "barking dogs"), "Dogs bark.");
}

TEST(FindEvidence, EndsSentencesAtLinesAndNotWithinNumbers) {
  EXPECT_EQ(quote("Title\nIt costs 3.50 euros\nEnd", "", "3.50"), "It costs 3.50 euros");
}

TEST(FindEvidence, EndsSentencesAtFullWidthMarks) {
  const std::string stop = "\xE3\x80\x82", mark = "\xEF\xBC\x81", question = "\xEF\xBC\x9F";
  const std::string passage = "one" + stop + "two" + mark + "three" + question + "four";
  EXPECT_EQ(quote(passage, "", "one"), "one" + stop);
  EXPECT_EQ(quote(passage, "", "two"), "two" + mark);
  EXPECT_EQ(quote(passage, "", "three"), "three" + question);
  EXPECT_EQ(quote(passage, "", "four"), "four");
}

TEST(FindEvidence, TakesAllSentencesThatAnAnswerRunsOver) {
  const std::string passage = "Nothing. It was the year 1999. Two days on it rained. End.";
  EXPECT_EQ(quote(passage, "", "1999 two"), "It was the year 1999. Two days on it rained.");
  EXPECT_TRUE(find_evidence(passage, "", "1999 two").holds_answer);
  // One sentence that holds it is better, whatever stands in the question.
  EXPECT_EQ(quote(passage + " So 1999 two.", "It was the year?", "1999 two"), "So 1999 two.");
}

TEST(FindEvidence, DoesNotCutNamesWithInitialsAndTitles) {
  EXPECT_EQ(quote("Books sell. It was J. R. R. Tolkien of St. Albans. He wrote.", "", "Tolkien"),
            "It was J. R. R. Tolkien of St. Albans.");
}

TEST(FindEvidence, FindsAnAnswerWithinTextWrittenWithoutBlanks) {
  // "Tokyo is a city. Osaka is a town." in Chinese characters; the answer is
  // Osaka.
  const std::string first = "\xE4\xB8\x9C\xE4\xBA\xAC\xE6\x98\xAF\xE5\x9F\x8E\xE3\x80\x82";
  const std::string second = "\xE5\xA4\xA7\xE9\x98\xAA\xE6\x98\xAF\xE9\x95\x87\xE3\x80\x82";
  EXPECT_EQ(quote(first + second, "", "\xE5\xA4\xA7\xE9\x98\xAA"), second);
}

TEST(FindEvidence, SpansAreNeverEmptyOrBlankAtTheEndsNorCutCharacters) {
  const std::vector<std::string> parts = {"a",
                                          "b",
                                          "word",
                                          ".",
                                          "!",
                                          "?",
                                          " ",
                                          "\n",
                                          "\t",
                                          "\xC3\xA9",
                                          "\xE3\x80\x82",
                                          "\xEF\xBC\x81",
                                          "\xF0\x9F\x98\x80"};
  for (uint32_t seed = 1; seed <= 2000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto random_text = [&](uint32_t max_parts) {
      std::string text;
      for (uint32_t n = random() % (max_parts + 1); n > 0; --n)
        text += parts[random() % parts.size()];
      return text;
    };
    const std::string passage = random_text(30);
    if (passage.find_first_not_of(" \n\t") == std::string::npos) continue;
    const Span span = find_evidence(passage, random_text(8), random_text(4)).span;
    ASSERT_LE(0, span.start);
    ASSERT_LT(span.start, span.end);
    ASSERT_LE(span.end, static_cast<int64_t>(passage.size()));
    const std::string found =
        passage.substr(static_cast<size_t>(span.start), static_cast<size_t>(span.end - span.start));
    EXPECT_FALSE(text::find_invalid_utf8(found).has_value());
    EXPECT_EQ(std::string(" \n\t").find(found.front()), std::string::npos);
    EXPECT_EQ(std::string(" \n\t").find(found.back()), std::string::npos);
  }
}

}  // namespace
}  // namespace msa::corpus
