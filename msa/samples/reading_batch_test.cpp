#include "msa/samples/reading_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "msa/base/test_paths.h"
#include "msa/samples/batch_fixture.h"
#include "msa/samples/question_drawer.h"

namespace msa::samples {
namespace {

class ReadingBatchTest : public testing::Test {
 protected:
  ReadingBatchTest() {
    for (int32_t d = 0; d < 40; ++d) memory_.add(d);
    questions_.resize(static_cast<size_t>(corpus().num_questions()));
    std::iota(questions_.begin(), questions_.end(), 0);
  }

  const TrainCorpus& corpus() const { return fixture_.corpus(); }

  /// Those that can be read over this memory.
  std::vector<int32_t> readable() const {
    std::vector<int32_t> out;
    for (const int32_t q : questions_) {
      const TrainQuestion question = corpus().question(q);
      bool is_there = !shortest_answer(question).empty();
      for (size_t i = 0; i < (question.needs_all_gold ? question.documents.size() : 1); ++i) {
        is_there = is_there && memory_.place_of(question.documents[i]).has_value();
      }
      if (is_there) out.push_back(q);
    }
    return out;
  }

  std::string text_of(std::span<const int32_t> tokens) const {
    return fixture_.layout().tokenizer().decode(tokens);
  }

  const BatchFixture fixture_{source_folder() / "models/msa-tiny"};
  AskedMemory memory_{fixture_.corpus(), fixture_.layout(), 100'000};
  std::vector<int32_t> questions_;
};

TEST_F(ReadingBatchTest, EveryQuestionWithItsTextsHasItsAnswerAsOnlyTarget) {
  const Batch batch = reading_batch(corpus(), fixture_.layout(), memory_, questions_, 2048);
  check(batch, fixture_.layout().tokenizer().vocab_size());
  EXPECT_EQ(batch.documents.tokens, memory_.batch().documents.tokens);
  const std::vector<int32_t> expected = readable();
  ASSERT_GT(expected.size(), 20U);
  ASSERT_EQ(batch.num_asking, static_cast<int64_t>(expected.size()));
  ASSERT_EQ(batch.sequences.num_sequences(), batch.num_asking);
  size_t target = 0;
  int64_t num_with_two = 0;
  for (size_t s = 0; s < expected.size(); ++s) {
    const TrainQuestion question = corpus().question(expected[s]);
    EXPECT_EQ(batch.names[s], question.name);
    const auto begin = static_cast<size_t>(batch.sequences.offsets[s]);
    const auto end = static_cast<size_t>(batch.sequences.offsets[s + 1]);
    const std::string sequence =
        text_of(std::span(batch.sequences.tokens).subspan(begin, end - begin));
    std::vector<int32_t> answer;
    for (; target < batch.targets.rows.size() &&
           batch.targets.rows[target] < batch.sequences.offsets[s + 1];
         ++target) {
      EXPECT_EQ(batch.targets.terms[target], LossTerm::kAnswer);
      EXPECT_EQ(batch.targets.weights[target], 1);
      EXPECT_EQ(batch.targets.tokens[target],
                batch.sequences.tokens[static_cast<size_t>(batch.targets.rows[target]) + 1]);
      answer.push_back(batch.targets.tokens[target]);
    }
    const std::string wanted = " " + std::string(shortest_answer(question)) + "<|im_end|>";
    EXPECT_EQ(text_of(answer), wanted);
    EXPECT_TRUE(sequence.ends_with(wanted)) << sequence;
    EXPECT_NE(sequence.find(std::string(question.text)), std::string::npos);
    for (const int32_t document : question.documents) {
      EXPECT_NE(sequence.find(std::string(corpus().text(document))), std::string::npos) << sequence;
    }
    num_with_two += question.documents.size() == 2;
  }
  EXPECT_EQ(target, batch.targets.rows.size());
  EXPECT_GT(num_with_two, 0);
}

TEST_F(ReadingBatchTest, PartsOfABatchAreTheWholeOne) {
  Batch whole = reading_batch(corpus(), fixture_.layout(), memory_, questions_, 2048);
  for (int32_t a = 0; a < whole.num_asking; ++a) {  // some gold, of some none
    if (a % 3 > 0) whole.gold.push_back(a % 3);
    whole.gold_offsets[static_cast<size_t>(a) + 1] = static_cast<int32_t>(whole.gold.size());
  }
  Batch joined;
  for (int64_t first = 0; first < whole.num_asking; first += 7) {
    const int64_t end = std::min(whole.num_asking, first + 7);
    const Batch part = questions_of(whole, first, end);
    EXPECT_EQ(part.head, whole.head);
    EXPECT_EQ(part.num_asking, end - first);
    EXPECT_EQ(part.documents.num_sequences(), 0);
    const auto row = static_cast<int32_t>(joined.sequences.num_tokens());
    const auto query = static_cast<int32_t>(joined.query_rows.size());
    const auto gold = static_cast<int32_t>(joined.gold.size());
    const auto append = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(joined.sequences.tokens, part.sequences.tokens);
    append(joined.sequences.positions, part.sequences.positions);
    for (size_t a = 1; a < part.sequences.offsets.size(); ++a) {
      joined.sequences.offsets.push_back(row + part.sequences.offsets[a]);
      joined.query_offsets.push_back(query + part.query_offsets[a]);
      joined.gold_offsets.push_back(gold + part.gold_offsets[a]);
    }
    for (const int32_t place : part.query_rows) joined.query_rows.push_back(row + place);
    for (size_t i = 0; i < part.targets.rows.size(); ++i) {
      joined.targets.add(row + part.targets.rows[i], part.targets.tokens[i],
                         part.targets.weights[i], part.targets.terms[i]);
    }
    append(joined.gold, part.gold);
    append(joined.names, part.names);
  }
  EXPECT_EQ(joined.sequences.tokens, whole.sequences.tokens);
  EXPECT_EQ(joined.sequences.positions, whole.sequences.positions);
  EXPECT_EQ(joined.sequences.offsets, whole.sequences.offsets);
  EXPECT_EQ(joined.query_rows, whole.query_rows);
  EXPECT_EQ(joined.query_offsets, whole.query_offsets);
  EXPECT_EQ(joined.gold, whole.gold);
  EXPECT_EQ(joined.gold_offsets, whole.gold_offsets);
  EXPECT_EQ(joined.targets.rows, whole.targets.rows);
  EXPECT_EQ(joined.targets.tokens, whole.targets.tokens);
  EXPECT_EQ(joined.targets.weights, whole.targets.weights);
  EXPECT_EQ(joined.targets.terms, whole.targets.terms);
  EXPECT_EQ(joined.names, whole.names);
}

TEST_F(ReadingBatchTest, QuestionsWithoutAnswerOrWithoutTheirTextAreLeftOut) {
  const AskedMemory empty(corpus(), fixture_.layout(), 100);
  EXPECT_EQ(reading_batch(corpus(), fixture_.layout(), empty, questions_, 2048).num_asking, 0);
  EXPECT_LT(readable().size(), questions_.size());
  const Batch all = reading_batch(corpus(), fixture_.layout(), memory_, questions_, 2048);
  const int64_t longest = all.sequences.longest();
  const Batch shorter =
      reading_batch(corpus(), fixture_.layout(), memory_, questions_, longest - 1);
  EXPECT_LT(shorter.num_asking, all.num_asking);
  EXPECT_GT(shorter.num_asking, 0);
  EXPECT_LT(shorter.sequences.longest(), longest);
  EXPECT_EQ(reading_batch(corpus(), fixture_.layout(), memory_, {}, 2048).num_asking, 0);
}

}  // namespace
}  // namespace msa::samples
