#include "msa/samples/similar_documents.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/samples/batch_fixture.h"
#include "msa/samples/facts.h"

namespace msa::samples {
namespace {

const BatchFixture& fixture() {
  static const BatchFixture made(source_folder() / "models/msa-tiny");
  return made;
}

const TrainCorpus& corpus() { return fixture().corpus(); }

WrittenQuestion asked(std::string_view text) {
  WrittenQuestion written;
  written.question.text = text;
  return written;
}

TEST(WordIndex, FindsWhatTheQuestionSaysAmongWhatMayEnter) {
  const WordIndex index(corpus(), {});
  const std::string_view title = corpus().title(fixture().document("a-12-2"));
  const std::vector<WrittenQuestion> questions{asked(title),
                                               asked("Twice the same text stands here")};
  const auto found = index.search(questions, 2);
  ASSERT_EQ(found.size(), 2U);
  ASSERT_FALSE(found[0].empty());
  EXPECT_EQ(plain_title(corpus().title(found[0][0])), plain_title(title));
  EXPECT_EQ(found[1][0], fixture().document("again"));
  for (const auto& documents : index.search(questions, 500)) {
    for (const int32_t document : documents) {
      EXPECT_FALSE(corpus().is_held_back(document));
      EXPECT_FALSE(corpus().is_repeated(document));
    }
  }
}

TEST(SimilarDocuments, AreOfTheSameWordsAndDoNotAnswer) {
  const WordIndex index(corpus(), {});
  const SearchedOptions options{.seed = 2, .num_questions = 200};
  const auto questions = draw_searched(corpus(), {}, options);
  const auto groups =
      similar_documents(corpus(), {}, questions, index.search(questions, 3 + kMoreDocuments), 3);
  EXPECT_GT(groups.size(), 100U);
  int of_title = 0;
  for (const auto& group : groups) {
    ASSERT_GE(group.size(), 2U);
    EXPECT_LE(group.size(), 5U);
    EXPECT_EQ(std::set<int32_t>(group.begin(), group.end()).size(), group.size());
    for (const int32_t document : group) EXPECT_FALSE(corpus().is_held_back(document));
    const std::string_view title = plain_title(corpus().title(group[0]));
    of_title += std::ranges::any_of(std::span(group).subspan(1), [&](int32_t other) {
      return plain_title(corpus().title(other)) == title;
    });
  }
  // Questions of an article name its town: its other passages are what words find.
  EXPECT_GT(of_title, 80);
}

TEST(SimilarDocuments, LeaveOutWhatHoldsAnAnswer) {
  // A search that finds everything: what is left out was left out for its text or its title.
  std::vector<int32_t> all;
  for (int32_t i = 0; i < corpus().num_documents(); ++i) all.push_back(i);
  const auto questions = draw_searched(corpus(), {}, {.num_questions = 50});
  int checked = 0;
  for (const WrittenQuestion& one : questions) {
    const std::vector<std::vector<int32_t>> found{all};
    const auto groups = similar_documents(corpus(), {}, std::span(&one, 1), found, 1'000);
    ASSERT_EQ(groups.size(), 1U);
    const TrainQuestion& question = one.question;
    for (const int32_t other : std::span(groups[0]).subspan(question.documents.size())) {
      EXPECT_EQ(std::ranges::count(groups[0], other), 1);
      if (question.answers.empty()) {
        EXPECT_NE(corpus().title(other), corpus().title(groups[0][0]));
      }
      for (const std::string_view answer : question.answers) {
        EXPECT_EQ(corpus().text(other).find(answer), std::string_view::npos);
      }
    }
    ++checked;
  }
  EXPECT_EQ(checked, 50);
  const std::vector<std::vector<int32_t>> found(questions.size(), all);
  EXPECT_THROW(similar_documents(corpus(), {}, questions, found, 0), Error);
  EXPECT_THROW(similar_documents(corpus(), {}, questions, std::span(found).first(3), 1), Error);
}

TEST(SimilarDocuments, LeaveOutWhatHoldsAnotherAnswer) {
  // Of two names the shorter one is learned; a document that holds the other answers as well.
  const auto questions = draw_searched(corpus(), {}, {.num_questions = 50});
  const int32_t holder = fixture().document("a-20-1");
  const std::string_view other_name = corpus().title(holder).substr(0, 8);
  WrittenQuestion one = questions[0];
  ASSERT_EQ(std::ranges::count(one.question.documents, holder), 0);
  const std::vector<std::vector<int32_t>> found{{holder}};
  one.question.answers = {"Nowhere"};
  one.answer = "Nowhere";
  EXPECT_EQ(similar_documents(corpus(), {}, std::span(&one, 1), found, 3).size(), 1U);
  one.question.answers = {"Nowhere", other_name};
  EXPECT_TRUE(similar_documents(corpus(), {}, std::span(&one, 1), found, 3).empty());
}

TEST(SearchedQuestions, FollowFromSeedAndStep) {
  const auto names = [](const SearchedOptions& options) {
    std::vector<std::string_view> all;
    for (const auto& one : draw_searched(corpus(), {}, options)) {
      all.push_back(one.question.name);
      for (const int32_t gold : one.question.documents) EXPECT_FALSE(corpus().is_held_back(gold));
    }
    return all;
  };
  const SearchedOptions options{.seed = 2, .step = 10, .num_questions = 100};
  EXPECT_EQ(names(options).size(), 100U);
  EXPECT_EQ(names(options), names(options));
  EXPECT_NE(names(options), names({.seed = 2, .step = 20, .num_questions = 100}));
  EXPECT_NE(names(options), names({.seed = 3, .step = 10, .num_questions = 100}));
  EXPECT_THROW(draw_searched(corpus(), {}, {.num_questions = -1}), Error);
}

}  // namespace
}  // namespace msa::samples
