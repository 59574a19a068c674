#include "msa/samples/question_maker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "msa/corpus/words.h"
#include "msa/samples/facts.h"
#include "msa/samples/phrases.h"
#include "msa/text/unicode.h"

namespace msa::samples {
namespace {

constexpr std::string_view kTitle = "Born in the Dark (song)";
constexpr std::string_view kText =
    "Born in the Dark is a song written by Chet Hinesley, and recorded by American country singer "
    "Doug Stone. It was released on 12 September 1995 by Columbia Records in Nashville. The song "
    "reached number 12 on the Hot Country Songs chart and sold 40,000 copies in Canada. In 1996 it "
    "was covered by Zo\xC3\xAB Quist.\nStone was married to Mary \xE2\x80\x93 a painter from "
    "Rome.";

std::set<std::string> questions_of(MadeKind kind, std::string_view title, std::string_view text,
                                   int draws = 400) {
  std::set<std::string> all;
  for (int i = 0; i < draws; ++i) {
    Random random(9, {static_cast<uint64_t>(i)});
    if (const auto made = make_question(kind, title, text, random)) all.insert(made->text);
  }
  return all;
}

TEST(Phrases, FindNamesDatesAndNumbers) {
  const std::vector<std::pair<std::string, std::string>> examples{
      {"May 3, 1980 was", "May 3, 1980"},
      {"3 May 1980, when", "3 May 1980"},
      {"June 1915 and", "June 1915"},
      {"1915. Then", "1915"},
      {"40,000 copies", "40,000"},
      {"five million people", "five million"},
      {"Bank of the West is", "Bank of the West"},
      {"Ludwig van Beethoven, a", "Ludwig van Beethoven"},
      {"J. R. Smith wrote", "J. R. Smith"},
      {"Rome (Italy) is", "Rome"},
      {"\xC3\x89"
       "douard Manet painted",
       "\xC3\x89"
       "douard Manet"},
  };
  for (const auto& [text, wanted] : examples) {
    const auto words = plain_words(text);
    const auto phrase = phrase_at(words, 0);
    ASSERT_TRUE(phrase) << text;
    EXPECT_EQ(text_of(words, *phrase), wanted);
  }
  for (const char* text : {"The house", "lower case", "12 of them", "In 1980", "Rome's walls"}) {
    EXPECT_FALSE(phrase_at(plain_words(text), 0)) << text;
  }
}

TEST(Phrases, SentencesEndWhereTheCorpusEndsThem) {
  const auto sentences = sentences_of("  Dr. Smith came. He left! \n\nWhy? ");
  EXPECT_EQ(sentences, (std::vector<std::string_view>{"Dr. Smith came.", "He left!", "Why?"}));
  EXPECT_TRUE(sentences_of(" \n ").empty());
}

TEST(Facts, AreReadFromTheWordingOfTheFirstSentences) {
  std::map<std::string, std::string> answers;  // by question
  for (const Fact& fact : facts_of(kTitle, kText)) {
    for (uint64_t i = 0; i < 40; ++i) {
      Random random(4, {i});
      answers[question_of(fact, plain_title(kTitle), random)] = fact.answer;
    }
  }
  EXPECT_EQ(answers["who wrote Born in the Dark"], "Chet Hinesley");
  EXPECT_EQ(answers["when was Born in the Dark released"], "12 September 1995");
  EXPECT_EQ(answers["what is Born in the Dark"], "a song");
}

TEST(Facts, OfAnotherSubjectThanTheTitleAreNone) {
  EXPECT_TRUE(facts_of("Oklahoma City", "Patience Latting was elected mayor in 1971.").empty());
  EXPECT_TRUE(facts_of("", kText).empty());
}

TEST(Facts, DescribeTheirAnswers) {
  std::set<std::string> descriptions;
  for (const Fact& fact : facts_of(kTitle, kText)) {
    descriptions.insert(description_of(fact, "Born in the Dark"));
  }
  EXPECT_TRUE(descriptions.contains("the author of Born in the Dark"));
}

TEST(QuestionMaker, SpansAndWordsAreOfTheText) {
  std::string spaced(kText);
  std::replace(spaced.begin(), spaced.end(), '\n', ' ');
  for (const std::string& span : questions_of(MadeKind::kSpan, kTitle, kText)) {
    EXPECT_NE(spaced.find(span), std::string::npos) << span;
    const size_t words = plain_words(span).size();
    EXPECT_GE(words, 4U);
    EXPECT_LE(words, 15U);
  }
  const auto keywords = questions_of(MadeKind::kWords, kTitle, kText);
  EXPECT_GT(keywords.size(), 300U);
  for (const std::string& question : keywords) {
    for (const PlainWord& word : plain_words(question)) {
      EXPECT_NE(kText.find(word.whole), std::string::npos) << question;
    }
  }
}

TEST(QuestionMaker, TitlesAreAskedForWithAndWithoutWhatTellsThemApart) {
  const auto questions = questions_of(MadeKind::kTitle, kTitle, kText);
  for (const char* wanted : {"Born in the Dark", "Born in the Dark (song)",
                             "what is Born in the Dark", "tell me about Born in the Dark (song)"}) {
    EXPECT_TRUE(questions.contains(wanted)) << wanted;
  }
  for (const std::string& question : questions_of(MadeKind::kTitle, "Rome (3)", kText)) {
    EXPECT_EQ(question.find('('), std::string::npos) << question;
  }
}

TEST(QuestionMaker, ClozeQuestionsLeaveOutWhatAnswersThem) {
  std::map<std::string, std::string> answers;
  for (uint64_t i = 0; i < 2000; ++i) {
    Random random(5, {i});
    const auto made = make_question(MadeKind::kCloze, kTitle, kText, random);
    if (!made) continue;
    EXPECT_NE(kText.find(made->answer), std::string_view::npos) << made->answer;
    EXPECT_EQ(made->text.find(made->answer), std::string::npos) << made->text;
    answers[made->text] = made->answer;
  }
  EXPECT_GT(answers.size(), 10U);
  EXPECT_EQ(answers["when was it covered by Zo\xC3\xAB Quist"], "1996");
  EXPECT_EQ(answers["when was Born in the Dark released by Columbia Records in Nashville"],
            "12 September 1995");
}

TEST(QuestionMaker, TheSameStateGivesTheSameQuestion) {
  for (const auto kind :
       {MadeKind::kSpan, MadeKind::kWords, MadeKind::kTitle, MadeKind::kCloze, MadeKind::kFact}) {
    for (uint64_t i = 0; i < 50; ++i) {
      Random first(1, {i});
      Random second(1, {i});
      const auto made = make_question(kind, kTitle, kText, first);
      const auto again = make_question(kind, kTitle, kText, second);
      ASSERT_EQ(made.has_value(), again.has_value());
      EXPECT_EQ(made ? made->text : "", again ? again->text : "");
      EXPECT_EQ(first.next(), second.next());
    }
  }
}

TEST(QuestionMaker, AnyTextGivesAQuestionOfOneLineOrNone) {
  // Pieces of marks, line ends and characters of several bytes in any order.
  const std::vector<std::string> pieces{"Rome",
                                        "was",
                                        "(",
                                        ")",
                                        ",",
                                        ".",
                                        "\n",
                                        " ",
                                        "1990",
                                        "May",
                                        "in",
                                        "The",
                                        "\xE2\x80\x93",
                                        "\xE4\xB8\xAD\xE6\x96\x87",
                                        "\xC3\x89tat",
                                        "[3]",
                                        "is a",
                                        "by",
                                        "born",
                                        "&",
                                        "3",
                                        "He",
                                        "\"",
                                        "'s",
                                        "of",
                                        "founded"};
  for (uint64_t i = 0; i < 3000; ++i) {
    Random random(6, {i});
    std::string text;
    for (int64_t n = random.below(60); n > 0; --n) {
      text += random.pick(pieces);
      if (random.chance(0.7)) text += ' ';
    }
    const std::string title = random.chance(0.3) ? "" : random.pick(pieces) + " (x";
    for (const auto kind :
         {MadeKind::kSpan, MadeKind::kWords, MadeKind::kTitle, MadeKind::kCloze, MadeKind::kFact}) {
      const auto made = make_question(kind, title, text, random);
      if (!made) continue;
      EXPECT_FALSE(text::find_invalid_utf8(made->text)) << made->text;
      EXPECT_EQ(made->text.find('\n'), std::string::npos) << made->text;
      EXPECT_NE(made->text.find_first_not_of(' '), std::string::npos) << text;
      EXPECT_FALSE(text::find_invalid_utf8(made->answer)) << made->answer;
    }
  }
}

TEST(QuestionMaker, TypedQuestionsAreInLowerCase) {
  std::set<std::string> typed;
  for (uint64_t i = 0; i < 20; ++i) {
    Random random(2, {i});
    typed.insert(as_typed("Who built ROME?", random));
  }
  EXPECT_EQ(typed, (std::set<std::string>{"who built rome", "who built rome?"}));
}

}  // namespace
}  // namespace msa::samples
