#include "msa/samples/similar_documents.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "msa/base/error.h"
#include "msa/samples/batch_fixture.h"
#include "msa/samples/facts.h"

namespace msa::samples {
namespace {

const BatchFixture& fixture() {
  static const BatchFixture made(std::filesystem::path(MSA_SOURCE_DIR) / "models/msa-proto");
  return made;
}

const TrainCorpus& corpus() { return fixture().corpus(); }

TEST(WordIndex, FindsWhatTheQuestionSaysAmongWhatMayEnter) {
  const WordIndex index(corpus(), {});
  const std::string_view title = corpus().title(fixture().document("a-12-2"));
  const std::vector<std::string_view> questions{title, "Twice the same text stands here"};
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
  const auto search = [&](std::span<const std::string_view> questions, int64_t count) {
    return index.search(questions, count);
  };
  const SimilarOptions options{.seed = 2, .num_questions = 200, .num_documents = 3};
  const auto groups = similar_documents(corpus(), {}, search, options);
  EXPECT_EQ(groups, similar_documents(corpus(), {}, search, options));
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

TEST(SimilarDocuments, LeaveOutWhatHoldsTheAnswer) {
  // A search that finds everything: what is left out was left out for its text or its title.
  const auto search = [&](std::span<const std::string_view> questions, int64_t) {
    std::vector<int32_t> all;
    for (int32_t i = 0; i < corpus().num_documents(); ++i) all.push_back(i);
    return std::vector<std::vector<int32_t>>(questions.size(), all);
  };
  const auto groups =
      similar_documents(corpus(), {}, search, {.num_questions = 50, .num_documents = 1'000});
  int checked = 0;
  for (const auto& group : groups) {
    const auto questions = corpus().questions_of(group[0]);
    if (questions.size() != 1) continue;  // which of them was asked is open
    const TrainQuestion question = corpus().question(questions[0]);
    for (const int32_t other : std::span(group).subspan(question.documents.size())) {
      if (question.answers.empty()) {
        EXPECT_NE(corpus().title(other), corpus().title(group[0]));
      } else {
        EXPECT_EQ(corpus().text(other).find(question.answers[0]), std::string_view::npos);
      }
    }
    ++checked;
  }
  EXPECT_GT(checked, 10);
  EXPECT_THROW(similar_documents(corpus(), {}, search, {.num_documents = 0}), Error);
}

}  // namespace
}  // namespace msa::samples
