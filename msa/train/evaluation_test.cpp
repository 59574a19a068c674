#include "msa/train/evaluation.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/samples/asked_memory.h"
#include "msa/samples/batch_fixture.h"
#include "msa/samples/reading_batch.h"
#include "msa/train/forward.h"
#include "msa/train/parameters.h"
#include "msa/train/small_config.h"

namespace msa::train {
namespace {

class EvaluationTest : public testing::Test {
 protected:
  Evaluation evaluation(int64_t num_readings, int64_t max_tokens = 2048) const {
    return {fixture_.corpus(),
            fixture_.layout(),
            {.num_questions = 100,
             .num_readings = num_readings,
             .max_reading_tokens = max_tokens,
             .memory_tokens = {3000, 6000},
             .top_k = 3}};
  }

  ModelTensors tensors() const {
    return gather_tensors(
        config_, [&](const std::string& name) { return parameters_.find(name); }, at::kFloat);
  }

  const samples::BatchFixture fixture_{source_folder() / "models/msa-tiny"};
  const model::ModelConfig config_ = small_config({{"vocab_size", 8192}});
  const LayerMath math_{config_, 4096, at::kCPU};
  const Parameters parameters_ = Parameters::random(config_, 3);
};

TEST_F(EvaluationTest, AReadingIsNearThatOfItsQuestionsOneByOne) {
  const auto reading = evaluation(100).read(math_, tensors());
  ASSERT_TRUE(reading.has_value());
  // All held-back questions with an answer: their documents fit into the first memory.
  std::vector<int32_t> held_back;
  samples::AskedMemory memory(fixture_.corpus(), fixture_.layout(), 3000);
  for (int32_t q = 0; q < fixture_.corpus().num_questions(); ++q) {
    if (!fixture_.corpus().is_question_held_back(q)) continue;
    ASSERT_TRUE(memory.ask(fixture_.corpus().question(q)));
    held_back.push_back(q);
  }
  const samples::Batch all =
      samples::reading_batch(fixture_.corpus(), fixture_.layout(), memory, held_back, 2048);
  EXPECT_EQ(reading->num_questions, all.num_asking);
  ASSERT_GT(all.num_asking, 1);
  // Each alone, over its own documents: those that the evaluation adds beside them change little.
  double nats = 0;
  int64_t num_tokens = 0;
  int64_t num_exact = 0;
  for (int64_t a = 0; a < all.num_asking; ++a) {
    samples::Batch one = samples::questions_of(all, a, a + 1);
    one.documents = all.documents;
    ForwardOptions options;
    options.weights.term[static_cast<size_t>(samples::LossTerm::kAnswer)] = 1;
    options.totals.add(one);
    options.routing.top_k = 3;
    options.keeps_hits = true;
    const StepLosses losses = forward(
        math_, tensors(),
        step_input(one, config_.msa.chunk_tokens, options.weights, options.totals, at::kCPU),
        options);
    nats += losses.loss.item<double>() * static_cast<double>(one.targets.size());
    num_tokens += one.targets.size();
    num_exact += losses.hits.all().item<bool>();
  }
  EXPECT_NEAR(std::log(reading->token_probability), -nats / static_cast<double>(num_tokens), 2e-3);
  EXPECT_EQ(reading->exact, static_cast<double>(num_exact) / static_cast<double>(all.num_asking));
}

TEST_F(EvaluationTest, NothingIsReadWhereNothingIsWantedOrAllIsTooLong) {
  EXPECT_FALSE(evaluation(0).read(math_, tensors()).has_value());
  EXPECT_FALSE(evaluation(100, 10).read(math_, tensors()).has_value());
  EXPECT_EQ(evaluation(1).read(math_, tensors())->num_questions, 1);
}

TEST_F(EvaluationTest, ReadingStopsWhenAsked) {
  int64_t left = 2;  // the documents are encoded, and then no question is read
  EXPECT_THROW(evaluation(100).read(math_, tensors(), [&] { return --left == 0; }), Error);
}

}  // namespace
}  // namespace msa::train
