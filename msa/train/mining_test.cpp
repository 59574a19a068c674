#include "msa/train/mining.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/samples/asked_memory.h"
#include "msa/samples/batch_fixture.h"
#include "msa/samples/facts.h"
#include "msa/samples/similar_documents.h"
#include "msa/train/parameters.h"
#include "msa/train/small_config.h"

namespace msa::train {
namespace {

constexpr int64_t kPositions = 1'024;

const samples::BatchFixture& fixture() {
  static const samples::BatchFixture made(source_folder() / "models/msa-tiny");
  return made;
}

const samples::TrainCorpus& corpus() { return fixture().corpus(); }

/// A model with random weights that fits the corpus's tokens.
struct Model {
  model::ModelConfig config = small_config({{"vocab_size", 8'192}});
  Parameters parameters = Parameters::random(config, 5);
  LayerMath math{config, kPositions, at::kCPU};
  ModelTensors tensors = gather_tensors(
      config, [this](const std::string& name) { return parameters.find(name); }, at::kFloat);

  Mined mine(const MiningOptions& options) const {
    return train::mine(corpus(), fixture().layout(), {}, math, tensors, options);
  }
};

MiningOptions options_of(int64_t memory_tokens, int64_t step = 20) {
  return {.wanted = {.every_steps = 10,
                     .questions = 150,
                     .memory_tokens = memory_tokens,
                     .documents = 4},
          .seed = 3,
          .step = step,
          .top_k = 4};
}

TEST(Mining, GroupsAreWhatTheModelTakesForTheGoldDocument) {
  const Model model;
  const MiningOptions options = options_of(1 << 20);
  const Mined mined = model.mine(options);
  EXPECT_EQ(mined.recall.num_questions, 150);
  EXPECT_GT(mined.groups.size(), 120U);

  // The same memory in another order: other ids, and so a little other scores.
  samples::AskedMemory memory(corpus(), fixture().layout(), 1 << 20);
  const auto questions = samples::draw_searched(
      corpus(), {}, {.seed = options.seed, .step = options.step, .num_questions = 150});
  for (const auto& one : questions) memory.ask(one.question);
  for (int32_t i = 0; i < corpus().num_documents(); ++i) {
    if (!corpus().is_held_back(i) && !corpus().is_repeated(i)) memory.add(i);
  }
  EXPECT_EQ(mined.recall.num_documents, memory.batch().documents.num_sequences());
  const auto ranked = rank_documents(model.math, model.tensors, memory.batch(),
                                     {.top_k = 4, .depth = 4 + samples::kMoreDocuments});
  size_t next = 0;
  int num_others = 0;
  int found_best = 0;
  for (size_t i = 0; i < questions.size() && next < mined.groups.size(); ++i) {
    const auto& gold = questions[i].question.documents;
    const auto& group = mined.groups[next];
    if (!std::equal(gold.begin(), gold.end(), group.begin())) continue;  // it gave none
    ++next;
    EXPECT_LE(group.size(), gold.size() + 4);
    EXPECT_EQ(std::set<int32_t>(group.begin(), group.end()).size(), group.size());
    for (const int32_t document : group) EXPECT_FALSE(corpus().is_held_back(document));
    for (const int32_t other : std::span(group).subspan(gold.size())) {
      ++num_others;
      if (samples::is_telling(questions[i].answer)) {
        EXPECT_EQ(corpus().text(other).find(questions[i].answer), std::string_view::npos);
      }
      for (int64_t rank = 0; rank < 8; ++rank) {
        const auto place = ranked[static_cast<int64_t>(i)][rank].item<int64_t>();
        found_best += memory.documents()[static_cast<size_t>(place)] == other;
      }
    }
  }
  EXPECT_EQ(next, mined.groups.size()) << "every group is of a question, in their order";
  EXPECT_GT(2 * found_best, num_others) << "by chance one in 25";
}

TEST(Mining, IsAFunctionOfSeedAndStepAndStaysWithinItsTokens) {
  const Model model;
  const Mined mined = model.mine(options_of(6'000));
  EXPECT_LE(mined.recall.memory_tokens, 6'000);
  EXPECT_LT(mined.recall.num_questions, 150);
  EXPECT_GT(mined.recall.num_questions, 20);
  const Mined again = model.mine(options_of(6'000));
  EXPECT_EQ(again.groups, mined.groups);
  EXPECT_EQ(again.recall.at_1, mined.recall.at_1);
  EXPECT_NE(model.mine(options_of(6'000, 30)).groups, mined.groups);
  EXPECT_THROW(model.mine(options_of(5)), Error);
}

TEST(Mining, GroupsComeBackFromTensorsAndOtherTensorsAreRefused) {
  const std::vector<std::vector<int32_t>> groups{{5, 6, 7}, {}, {1}, {9, 2}};
  auto tensors = to_tensors(groups);
  EXPECT_EQ(to_groups(tensors), groups);
  EXPECT_TRUE(to_tensors({}).empty());
  EXPECT_TRUE(to_groups({}).empty());
  EXPECT_THROW(to_groups({tensors[1], tensors[0]}), Error);
  EXPECT_THROW(to_groups({tensors[0]}), Error);
  const std::vector<int64_t> ends{3, 2, 4, 6};
  tensors[1].tensor = at::tensor(ends);
  EXPECT_THROW(to_groups(tensors), Error);
  tensors[1].tensor = at::tensor(std::vector<int64_t>{3, 7});
  EXPECT_THROW(to_groups(tensors), Error);
}

}  // namespace
}  // namespace msa::train
