#include "msa/samples/gap_question.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "msa/corpus/words.h"
#include "msa/samples/cloze.h"
#include "msa/samples/phrases.h"
#include "msa/text/unicode.h"

namespace msa::samples {
namespace {

constexpr std::string_view kTitle = "Augusta Canal (Georgia)";
constexpr std::string_view kText =
    "The Augusta Canal was built in 1845 by William Cumming. It is fed by the Savannah River and "
    "passes the mills of three suburbs.\nHistory.\nThe mills were planned by an engineer from "
    "Besan\xC3\xA7on, and workers came from Ireland. A flood of the Savannah River destroyed two "
    "locks of the canal in 1908 \xE2\x80\x93 nobody was hurt. The engineer returned to "
    "Besan\xC3\xA7on after the flood.\nToday the canal is a park.";

/// What a document gives in many states, by question.
std::map<std::string, GapQuestion> questions_of(std::string_view title, std::string_view text,
                                                uint64_t draws = 200) {
  std::map<std::string, GapQuestion> all;
  for (uint64_t i = 0; i < draws; ++i) {
    Random random(21, {i});
    if (auto gap = gap_question(title, text, random)) all[gap->text] = *gap;
  }
  return all;
}

std::string without_blanks(std::string_view text) {
  std::string kept(text);
  std::erase_if(kept, [](char byte) { return byte == ' ' || byte == '\n'; });
  return kept;
}

std::map<std::string, int> word_counts(std::string_view text) {
  std::map<std::string, int> counts;
  for (const corpus::Word& word : corpus::words_of(text)) ++counts[word.text];
  return counts;
}

/// The bytes of an answer in a text begin and end a word of it, wherever one such place is.
bool has_whole(const std::string& text, const std::string& answer) {
  const auto words = corpus::words_of(text);
  for (size_t at = text.find(answer); at != std::string::npos; at = text.find(answer, at + 1)) {
    const auto begin = static_cast<int64_t>(at);
    const auto end = static_cast<int64_t>(at + answer.size());
    if (std::ranges::find(words, begin, &corpus::Word::start) != words.end() &&
        std::ranges::find(words, end, &corpus::Word::end) != words.end()) {
      return true;
    }
  }
  return false;
}

/// All that holds for any gap question. `text` has one blank between words, or line ends.
void expect_sound(std::string_view title, std::string_view text, const GapQuestion& gap) {
  SCOPED_TRACE(gap.text + " -> " + gap.answer + " | " + gap.passage);
  EXPECT_TRUE(has_whole(gap.passage, gap.answer));
  EXPECT_TRUE(has_whole(gap.sentence, gap.answer));
  EXPECT_EQ(gap.text.find(gap.answer), std::string::npos);
  EXPECT_EQ(title.find(gap.answer), std::string_view::npos);
  EXPECT_GE(gap.answer.size(), 3U);
  EXPECT_EQ(gap.text.find('\n'), std::string::npos);
  EXPECT_GE(plain_words(gap.text).size(), 5U);
  EXPECT_EQ(std::ranges::count(gap.text, '('), std::ranges::count(gap.text, ')'));

  // Passage and sentence are the text, and what the sentence alone says is gone.
  EXPECT_EQ(gap.passage.find(gap.sentence), std::string::npos);
  const size_t place = text.find(gap.sentence);
  ASSERT_NE(place, std::string_view::npos);
  EXPECT_EQ(without_blanks(std::string(text.substr(0, place)) +
                           std::string(text.substr(place + gap.sentence.size()))),
            without_blanks(gap.passage));
  auto left = word_counts(text);
  for (const auto& [word, count] : word_counts(gap.sentence)) {
    if ((left[word] -= count) == 0) left.erase(word);
  }
  EXPECT_EQ(left, word_counts(gap.passage));

  for (const char* blanks : {"  ", " \n", "\n ", "\n\n\n"}) {
    EXPECT_EQ(gap.passage.find(blanks), std::string::npos);
  }
  EXPECT_EQ(gap.passage.find_first_of(" \n"), gap.passage.find_first_of(" \n", 1));
  EXPECT_EQ(gap.passage.find_last_not_of(" \n"), gap.passage.size() - 1);
  EXPECT_GE(plain_words(gap.passage).size(), 20U);
  for (const std::string* piece : {&gap.text, &gap.answer, &gap.sentence, &gap.passage}) {
    EXPECT_FALSE(text::find_invalid_utf8(*piece));
  }
}

TEST(GapQuestion, AsksByOneSentenceForWhatAnotherOneHolds) {
  const auto questions = questions_of(kTitle, kText);
  std::map<std::string, std::set<std::string>> sentences;  // by answer
  for (const auto& [text, gap] : questions) {
    expect_sound(kTitle, kText, gap);
    sentences[gap.answer].insert(gap.sentence.substr(0, 12));
  }
  // "It is fed by the Savannah River" has no word of the flood's sentence, and the other way round:
  // nothing leads from one to the other.
  EXPECT_EQ(sentences, (std::map<std::string, std::set<std::string>>{
                           {"Besan\xC3\xA7on", {"The mills we", "The engineer"}}}));
}

TEST(GapQuestion, LeavesTheRestOfTheTextAsItWas) {
  const auto questions = questions_of(kTitle, kText);
  std::set<std::string> passages;
  for (const auto& [text, gap] : questions) passages.insert(gap.passage);
  EXPECT_EQ(
      passages,
      (std::set<std::string>{
          "The Augusta Canal was built in 1845 by William Cumming. It is fed by the Savannah River "
          "and passes the mills of three suburbs.\nHistory.\nA flood of the Savannah River "
          "destroyed two locks of the canal in 1908 \xE2\x80\x93 nobody was hurt. The engineer "
          "returned to Besan\xC3\xA7on after the flood.\nToday the canal is a park.",
          "The Augusta Canal was built in 1845 by William Cumming. It is fed by the Savannah River "
          "and passes the mills of three suburbs.\nHistory.\nThe mills were planned by an engineer "
          "from Besan\xC3\xA7on, and workers came from Ireland. A flood of the Savannah River "
          "destroyed two locks of the canal in 1908 \xE2\x80\x93 nobody was hurt.\nToday the canal "
          "is a park."}));
}

TEST(GapQuestion, BlanksAtBothEndsAndBetweenParagraphsAreSettled) {
  const std::string first = "The mill was planned by an engineer from Lyon in the autumn.";
  const std::string last = "The engineer returned to Lyon by boat when the work was done.";
  const std::string filler =
      "Nothing else is told of the place, and nobody who lives there cares for it any more today.";
  const std::string text = "\n " + first + "  \n\n" + filler + "\n\n  " + last + " \n";
  std::set<std::string> passages;
  for (const auto& [question, gap] : questions_of("", text)) passages.insert(gap.passage);
  EXPECT_EQ(passages, (std::set<std::string>{filler + "\n\n  " + last, first + "  \n\n" + filler}));
  const std::string middle = filler + " " + first + "\n" + last;
  passages.clear();
  for (const auto& [question, gap] : questions_of("", middle)) passages.insert(gap.passage);
  EXPECT_EQ(passages, (std::set<std::string>{filler + "\n" + last, filler + " " + first}));
}

TEST(GapQuestion, TheSameStateGivesTheSame) {
  for (uint64_t i = 0; i < 100; ++i) {
    Random first(1, {i});
    Random second(1, {i});
    const auto gap = gap_question(kTitle, kText, first);
    const auto again = gap_question(kTitle, kText, second);
    ASSERT_EQ(gap.has_value(), again.has_value());
    EXPECT_EQ(gap ? gap->text + gap->passage : "", again ? again->text + again->passage : "");
    EXPECT_EQ(first.next(), second.next());
  }
}

TEST(GapQuestion, NothingWhereNothingRecursOrItTellsNothing) {
  const std::string filler =
      " Nothing else is told of the village, and nobody who lives there cares for it any more.";
  const std::vector<std::pair<std::string, std::string>> others{
      {"Each once", "The bridge was built by Anna Berg in 1920. The bridge was sold to Otto Lund."},
      {"In one sentence",
       "The bridge from Rome was carried back to Rome by a merchant of the sea."},
      {"Lyon", "The bridge was planned by an artist from Lyon. The bridge went to Lyon by boat."},
      {"A part of a name",
       "The bridge was planned by an artist from York. The bridge went to York Harbour by boat."},
      {"Another case",
       "The bridge was planned by an artist from Nice. The bridge went to a nice new place."},
      {"A part of a word",
       "The bridge was planned by an artist from Lund. The bridge went to Lundby by boat."},
      {"A short form",
       "The bridge was planned by an artist from D.C. at last. The bridge went to D.C. by boat."},
      {"A month",
       "The bridge was planned by an artist in March. The bridge went to the sea in March."},
      {"Small numbers",
       "The bridge was built by 12 workers of the town. The bridge was left by 12 workers."},
      {"Number words",
       "The bridge was built by seven workers of the town. The bridge was left by seven workers."},
      {"Other things",
       "The bridge was built by 400 workers of the town. The bridge was left by 400 soldiers."},
      {"No word in common",
       "The bridge was planned by an artist from Lyon. Nobody dances and sings as in Lyon."},
      {"Only common words in common",
       "The bridge was planned by an artist from Lyon. The boats that year were sent to Lyon."},
      {"Only the title in common",
       "The title was planned by an artist from Lyon. Each title was brought to Lyon by boat."},
      {"The same sentence",
       "The bridge was planned by an artist from Lyon. The bridge was planned by an artist from "
       "Lyon."},
      {"Nearly the same sentence",
       "The bridge was planned by an artist from Lyon. The bridge was planned by an old artist "
       "from Lyon."},
      {"An adjective",
       "The bridge was planned by the Danish artist of before. The bridge had a Danish name too."},
  };
  for (const auto& [title, text] : others) {
    for (const auto& [question, gap] : questions_of(title, text + filler)) {
      ADD_FAILURE() << title << ": " << question << " -> " << gap.answer;
    }
  }
  const std::string recurs =
      "The bridge was planned by an artist from Lyon. The bridge went back to Lyon by boat.";
  EXPECT_FALSE(questions_of("Recurs", recurs + filler).empty());
  EXPECT_TRUE(questions_of("Too little is left", recurs).empty());
  for (const char* empty : {"", " \n", "Rome.", "."}) EXPECT_TRUE(questions_of("", empty).empty());
}

TEST(GapQuestion, WhatExplainsOrOwnsOtherWordsIsOnlyFoundNotAskedFor) {
  const std::string filler =
      " Nothing else is told of the village, and nobody who lives there cares for it any more.";
  const std::string asked = "The bridge was planned by an artist from the League in the autumn.";
  for (const std::string other :
       {"Soon the union of all builders of every bridge (League) was richer than before.",
        "Soon the builders of every bridge came to the League' and its masters for a rest."}) {
    std::set<std::string> sentences;
    for (const auto& [question, gap] : questions_of("", asked + " " + other + filler)) {
      EXPECT_EQ(gap.answer, "League");
      sentences.insert(gap.sentence);
    }
    EXPECT_EQ(sentences, std::set{asked});
  }
}

TEST(GapQuestion, BracketsAreNotCutInHalves) {
  const std::string text =
      "The tower was painted in a colour of Siena (a town in the hills of the far south which has "
      "many old towers and walls). The tower was planned by an artist from Siena for a bishop.";
  std::set<std::string> questions;
  for (const auto& [question, gap] : questions_of("", text)) questions.insert(question);
  for (const std::string& question : questions) {
    EXPECT_EQ(std::ranges::count(question, '('), std::ranges::count(question, ')')) << question;
  }
  const std::string field =
      "The total of all numbers was found in GF(\"q\") by a student of the school. A total is what "
      "a student may count in GF(\"q\") too, and nobody who lives there cares for it any more. "
      "Nothing else is told of the village by those who came.";
  EXPECT_TRUE(questions_of("", field).empty());
}

TEST(GapQuestion, TheQuestionShowsWhereItsAnswerStood) {
  const std::string text =
      "The bridge was moved from the coast of Carolina to the coast of Georgia. An artist of "
      "Carolina had painted the bridge and nobody who lives there cares for it any more.";
  const std::string more = " Nothing else is told of the village by those who came.";
  std::set<std::string> questions;
  for (const auto& [question, gap] : questions_of("", text + more)) {
    if (gap.sentence.starts_with("The bridge was moved")) questions.insert(question);
  }
  EXPECT_FALSE(questions.empty());
  for (const std::string& question : questions) {
    EXPECT_TRUE(question.starts_with("The bridge was moved from the coast of wh")) << question;
  }
}

TEST(GapQuestion, NumbersAndYearsCountWhereTheyAreTheSame) {
  const std::string filler =
      " Nothing else is told of the village, and nobody who lives there cares for it any more.";
  const auto numbers = questions_of(
      "Bridge",
      "The bridge was built by 400 workers of the town. A stone says that 400 workers were "
      "building here for the town." +
          filler);
  ASSERT_FALSE(numbers.empty());
  EXPECT_EQ(numbers.begin()->second.answer, "400");
  const auto years = questions_of(
      "Bridge",
      "The bridge was opened to all traffic in 1931. The traffic began on May 3, 1931 with a "
      "car of the mayor." +
          filler);
  ASSERT_FALSE(years.empty());
  EXPECT_EQ(years.begin()->second.answer, "1931");
}

/// Encyclopaedia-like paragraphs in which names, years and things recur at random.
std::string made_text(Random& random) {
  static const std::vector<std::string> kNames{"Anna Berg",
                                               "Otto Lund",
                                               "Zo\xC3\xAB Quist",
                                               "the Savannah River",
                                               "Besan\xC3\xA7on",
                                               "Rome",
                                               "Bank of the West",
                                               "J. R. Smith",
                                               "\xC3\x89\x74retat",
                                               "Port-au-Prince",
                                               "\xE2\x80\x9CNight Song\xE2\x80\x9D",
                                               "W.U.",
                                               "\xD0\x9C\xD0\xBE\xD1\x81\xD0\xBA\xD0\xB2\xD0\xB0",
                                               "New York"};
  static const std::vector<std::string> kTimes{"in 1920", "in 1931", "on May 3, 1931", "in March",
                                               "on 3 May 1931"};
  static const std::vector<std::string> kForms{
      "The bridge was built by @ # for the market of @.",
      "It was sold to @ and, after a flood, rebuilt near @ #.",
      "@ was elected mayor # and ordered 400 stones for the bridge.",
      "# the market moved from @ to @ (see @), where 400 stones lay.",
      "Its painter, @, lived with @ \xE2\x80\x93 and two cats \xE2\x80\x93 in @.",
      "Why did @ leave the market? Nobody in @ knows!",
      "@'s letters (#) tell of the flood, the mayor and @.",
      "History."};
  std::string text;
  for (int64_t n = random.between(1, 14); n > 0; --n) {
    if (!text.empty()) text += random.chance(0.8) ? " " : random.chance(0.5) ? "\n" : "\n\n";
    for (const char byte : random.pick(kForms)) {
      if (byte == '@') {
        text += random.pick(kNames);
      } else if (byte == '#') {
        text += random.pick(kTimes);
      } else {
        text += byte;
      }
    }
  }
  return text;
}

TEST(GapQuestion, ANumberMayEndTheWords) {
  const std::string sentence = "Sales of the first album have reached 400 million";
  const auto words = plain_words(sentence);
  const auto phrase = phrase_at(words, 7);
  ASSERT_TRUE(phrase.has_value());
  ASSERT_EQ(phrase->end, words.size());
  EXPECT_EQ(word_behind(words, *phrase), "");
  EXPECT_EQ(word_behind(words, {.first = 0, .end = 1, .kind = Phrase::Kind::kName}), "of");
  const std::string text = sentence +
                           "\nThe second album sold 400 million copies in total and was liked by "
                           "many of those who bought it in that year.";
  Random random(5, {});
  int num_asked = 0;
  for (int i = 0; i < 200; ++i) {
    // One counts nothing, the other copies: they are not the same.
    EXPECT_FALSE(gap_question("", text, random).has_value());
    const auto cloze = cloze_question("", sentence, random);
    if (!cloze) continue;
    ++num_asked;
    EXPECT_EQ(cloze->answer, "400 million");
    EXPECT_EQ(cloze->text.find("400"), std::string::npos) << cloze->text;
  }
  EXPECT_GT(num_asked, 0);
}

TEST(GapQuestion, AnyTextGivesASoundOneOrNone) {
  int found = 0;
  std::set<std::string> answers;
  for (uint64_t i = 0; i < 3000; ++i) {
    Random random(8, {i});
    const std::string text = made_text(random);
    const std::string title = random.chance(0.3) ? "New York (bridge)" : "";
    const auto gap = gap_question(title, text, random);
    if (!gap) continue;
    ++found;
    answers.insert(gap->answer);
    expect_sound(title, text, *gap);
    if (HasFailure()) break;
  }
  EXPECT_GT(found, 1000);
  EXPECT_GT(answers.size(), 8U);
}

}  // namespace
}  // namespace msa::samples
