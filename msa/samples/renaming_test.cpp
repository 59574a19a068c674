#include "msa/samples/renaming.h"

#include <gtest/gtest.h>

#include <set>
#include <span>
#include <string>
#include <vector>

namespace msa::samples {
namespace {

TEST(Renaming, AnAnswersKindIsThatOfItsForm) {
  for (const char* name : {"Ada Lovelace", "University of Jena", "Rome", "Évian", "Louis XIV"}) {
    EXPECT_EQ(kind_of(name), AnswerKind::kName) << name;
  }
  for (const char* year : {"1066", "2011"}) EXPECT_EQ(kind_of(year), AnswerKind::kYear) << year;
  for (const char* date : {"May 3, 1980", "3 May 1980", "July 1914"}) {
    EXPECT_EQ(kind_of(date), AnswerKind::kDate) << date;
  }
  for (const char* number : {"7", "1,200", "3.5"}) {
    EXPECT_EQ(kind_of(number), AnswerKind::kNumber) << number;
  }
  for (const char* other : {"", "a red fox", "the Beatles", "yes", "Rome and a village", "\"Rome\"",
                            "Rome.", "seven years", "12th", "1066 ships"}) {
    EXPECT_EQ(kind_of(other), AnswerKind::kOther) << other;
  }
}

TEST(Renaming, TheFirstAskingWordIsFoundInAnyCase) {
  EXPECT_EQ(asking_word("In what year did she, who sang, leave?"), "what");
  EXPECT_EQ(asking_word("WHO?"), "who");
  EXPECT_EQ(asking_word("Name the whole of it, whoever you are."), "");
}

std::string by(std::string_view text, const Renaming& renaming) {
  return renamed(text, std::span(&renaming, 1));
}

TEST(Renaming, WholeWordsAloneAreRenamed) {
  const Renaming renaming{.from = "Rome", .to = "Paris"};
  EXPECT_EQ(by("Rome, Romeo and Rome's Rome-bound (Rome)", renaming),
            "Paris, Romeo and Paris's Paris-bound (Paris)");
  EXPECT_EQ(by("rome Jérome éRome Romeé 2Rome", renaming), "rome Jérome éRome Romeé 2Rome");
  EXPECT_EQ(by("“Rome” Berlin–Rome Rome’s", renaming), "“Paris” Berlin–Paris Paris’s");
  EXPECT_EQ(by("Rome Rome", {.from = "Rome", .to = "Rome Rome"}), "Rome Rome Rome Rome");
  EXPECT_EQ(by("", renaming), "");
  EXPECT_EQ(by("as it was", {.from = "", .to = "x"}), "as it was");
  EXPECT_EQ(by("1914–1918 in 1914. 1914, 11914", {.from = "1914", .to = "1890"}),
            "1890–1918 in 1890. 1890, 11914");
  EXPECT_EQ(by("12,000 3.12 12, 12. (12)", {.from = "12", .to = "34"}), "12,000 3.12 34, 34. (34)");
  const std::vector<Renaming> both{{.from = "Rome", .to = "Oslo"}, {.from = "Oslo", .to = "Kyiv"}};
  EXPECT_EQ(renamed("Rome and Oslo", both), "Kyiv and Kyiv");
  EXPECT_TRUE(has_words("in Rome.", "Rome"));
  EXPECT_FALSE(has_words("in Romes.", "Rome"));
  EXPECT_FALSE(has_words("in Rome.", ""));
}

TEST(Renaming, OtherNumbersAreOfTheSameForm) {
  Random random(3, {});
  for (const char* number : {"1", "10", "1,200", "3.5", "1066", "2020", "1000"}) {
    std::set<std::string> seen;
    for (int i = 0; i < 300; ++i) {
      const auto other = other_number(number, random);
      if (!other) continue;  // drawn as it was
      EXPECT_NE(*other, number);
      EXPECT_EQ(kind_of(*other), kind_of(number)) << number << " -> " << *other;
      EXPECT_EQ(other->size(), std::string(number).size());
      seen.insert(*other);
    }
    EXPECT_GE(seen.size(), 8U) << number;
  }
  EXPECT_FALSE(other_number("Rome", random).has_value());
  EXPECT_FALSE(other_number("May 3, 1980", random).has_value());
}

}  // namespace
}  // namespace msa::samples
