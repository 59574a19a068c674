#include "msa/samples/invented_facts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "msa/base/test_paths.h"
#include "msa/samples/invented_relations.h"
#include "msa/samples/invented_words.h"
#include "msa/samples/phrases.h"
#include "msa/samples/renaming.h"

namespace msa::samples {
namespace {

size_t count_of(std::string_view text, std::string_view words) {
  size_t count = 0;
  for (size_t place = 0; (place = text.find(words, place)) != std::string_view::npos; ++place) {
    ++count;
  }
  return count;
}

bool is_spaced(const std::string& text) {
  return !text.empty() && text.front() != ' ' && text.back() != ' ' &&
         text.find("  ") == std::string::npos && text.find_first_of("{}\n") == std::string::npos;
}

TEST(InventedFacts, ASentenceHasNameAndAnswerOnceAndAQuestionTheNameAlone) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Random random(seed, {});
    FactInventor inventor;
    for (int i = 0; i < 300; ++i) {
      const InventedFact fact = inventor.next(random);
      SCOPED_TRACE(fact.sentence);
      EXPECT_EQ(count_of(fact.sentence, fact.name), 1U) << fact.name;
      EXPECT_EQ(count_of(fact.sentence, fact.answer), 1U) << fact.answer;
      EXPECT_TRUE(has_words(fact.sentence, fact.name));
      EXPECT_TRUE(has_words(fact.sentence, fact.answer));
      EXPECT_TRUE(is_spaced(fact.sentence));
      const std::string question = question_about(fact, random);
      EXPECT_TRUE(has_words(question, fact.name)) << question;
      EXPECT_FALSE(has_words(question, fact.answer)) << question;
      EXPECT_TRUE(is_spaced(question)) << question;
    }
  }
}

TEST(InventedFacts, WhatNeedlesAreMeasuredByIsNeverTrained) {
  std::ifstream file(source_folder() / "bench/corpus/needles.py");
  std::stringstream script;
  script << file.rdbuf();
  // If the measure asks in another way, so have the lines below to.
  ASSERT_NE(script.str().find("\"The secret number of {secret} is {number}.\""), std::string::npos);
  ASSERT_NE(script.str().find("\"What is the secret number of {secret}?\""), std::string::npos);
  Random random(5, {});
  for (int64_t relation = 0; relation < num_relations(); ++relation) {
    for (int i = 0; i < 400; ++i) {
      const std::string sentence = ascii_lower(sentence_of(relation, "Nnn", "Vvv", random));
      const std::string question = ascii_lower(question_of(relation, "Nnn", random));
      EXPECT_FALSE(sentence.starts_with("the ") && sentence.ends_with(" of nnn is vvv."))
          << sentence;
      EXPECT_FALSE(question.starts_with("what is the ") && question.ends_with(" of nnn?"))
          << question;
      for (const std::string& text : {sentence, question}) {
        EXPECT_EQ(text.find("secret"), std::string::npos) << text;
      }
    }
  }
}

TEST(InventedFacts, AreManyOfManyForms) {
  EXPECT_GE(num_relations(), 20);
  Random random(1, {});
  std::set<int64_t> relations;
  std::set<std::string> names;
  std::map<int64_t, int> words;
  std::set<size_t> number_digits;
  FactInventor inventor;
  for (int i = 0; i < 6'000; ++i) {
    const InventedFact fact = inventor.next(random);
    relations.insert(fact.relation);
    names.insert(fact.name);
    ++words[std::min<int64_t>(std::ranges::count(fact.name, ' ') + 1, 4)];
    if (value_kind_of(fact.relation) == ValueKind::kNumber) {
      EXPECT_EQ(fact.answer.find_first_not_of("0123456789"), std::string::npos) << fact.answer;
      number_digits.insert(fact.answer.size());
    }
  }
  EXPECT_EQ(static_cast<int64_t>(relations.size()), num_relations());
  EXPECT_GT(names.size(), 4'500U);
  for (const int64_t count : {1, 2, 3}) EXPECT_GT(words[count], 600) << count;
  EXPECT_EQ(number_digits, (std::set<size_t>{2, 3, 4, 5, 6, 7}));
  for (int64_t relation = 0; relation < num_relations(); ++relation) {
    std::set<std::string> sentences;
    std::set<std::string> questions;
    for (int i = 0; i < 200; ++i) {
      sentences.insert(sentence_of(relation, "N", "V", random));
      questions.insert(question_of(relation, "N", random));
    }
    EXPECT_GE(sentences.size(), 2U) << relation;
    EXPECT_GE(questions.size(), 2U) << relation;
  }
}

TEST(InventedFacts, OfAMemoryAreEasilyTakenForEachOtherButAnswerDifferently) {
  int same_relation = 0;
  int same_name = 0;
  int alike_names = 0;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    Random random(seed, {1});
    FactInventor inventor;
    std::vector<InventedFact> facts;
    for (int i = 0; i < 120; ++i) facts.push_back(inventor.next(random));
    for (size_t a = 0; a < facts.size(); ++a) {
      for (size_t b = a + 1; b < facts.size(); ++b) {
        const bool is_same = ascii_lower(facts[a].name) == ascii_lower(facts[b].name);
        if (is_same) {
          EXPECT_TRUE(are_told_apart(facts[a].relation, facts[b].relation)) << facts[a].name;
          ++same_name;
          continue;
        }
        if (b > a + 6) continue;
        same_relation += facts[a].relation == facts[b].relation ? 1 : 0;
        const std::string first = facts[a].name.substr(0, facts[a].name.find(' '));
        alike_names +=
            first.size() < facts[a].name.size() && facts[b].name.starts_with(first + " ") ? 1 : 0;
      }
    }
  }
  EXPECT_GT(same_relation, 200);
  EXPECT_GT(same_name, 100);
  EXPECT_GT(alike_names, 100);
}

TEST(InventedFacts, ASentenceGoesBetweenSentencesAndCanBeTakenOutAgain) {
  const std::string sentence = "Kru Vel keeps 12 goats.";
  for (const std::string text :
       {"", "One.", "No end", "Dr. Smith came. He left.", "First line.\nSecond line. And \"more.\"",
        "\xC3\x89vian is a town. It lies by a lake! Who knows?  Two blanks."}) {
    std::set<std::string> all;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      Random random(seed, {});
      const std::string told = with_sentence(text, sentence, random);
      SCOPED_TRACE(told);
      const size_t place = told.find(sentence);
      ASSERT_NE(place, std::string::npos);
      EXPECT_EQ(count_of(told, sentence), 1U);
      std::string behind = told;
      std::string before = told;
      behind.erase(place, sentence.size() + 1);
      if (place > 0) before.erase(place - 1, sentence.size() + 1);
      EXPECT_TRUE(behind == text || before == text);
      EXPECT_EQ(told.find("Dr. Kru"), std::string::npos);
      all.insert(told);
    }
    if (count_of(text, ".") > 1) {
      EXPECT_GE(all.size(), 3U) << text;
    }
  }
}

TEST(InventedWords, ANameThatIsAlikeIsAnotherAndSharesLetters) {
  Random random(2, {});
  int equal = 0;
  for (int i = 0; i < 2'000; ++i) {
    const std::string name = invented_name(random);
    EXPECT_TRUE(is_spaced(name)) << name;
    EXPECT_GE(name.size(), 5U) << name;
    const std::string other = alike_name(name, random);
    EXPECT_TRUE(is_spaced(other)) << name << ", " << other;
    equal += other == name ? 1 : 0;
  }
  EXPECT_LT(equal, 20);
}

}  // namespace
}  // namespace msa::samples
