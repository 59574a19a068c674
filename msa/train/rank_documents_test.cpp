#include "msa/train/rank_documents.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <gtest/gtest.h>

#include "msa/base/test_paths.h"
#include "msa/samples/asked_memory.h"
#include "msa/samples/batch_fixture.h"
#include "msa/samples/similar_documents.h"
#include "msa/train/parameters.h"
#include "msa/train/small_config.h"

namespace msa::train {
namespace {

TEST(RankDocuments, FollowsTheMeanScoreOfInferencesRoutingOverAllPasses) {
  const model::ModelConfig config = small_config({{"vocab_size", 8'192}});
  const Parameters parameters = Parameters::random(config, 5);
  const LayerMath math(config, 1'024, at::kCPU);
  const ModelTensors tensors = gather_tensors(
      config, [&](const std::string& name) { return parameters.find(name); }, at::kFloat);
  const samples::BatchFixture fixture(source_folder() / "models/msa-tiny");
  const samples::TrainCorpus& corpus = fixture.corpus();
  samples::AskedMemory memory(corpus, fixture.layout(), 1 << 20);
  const auto questions = samples::draw_searched(corpus, {}, {.seed = 4, .num_questions = 270});
  for (const auto& one : questions) ASSERT_TRUE(memory.ask(one.question));
  for (int32_t i = 0; i < 100; ++i) memory.add(i);
  const samples::Batch& batch = memory.batch();
  const auto ranked = rank_documents(math, tensors, batch, {.top_k = 4, .depth = 9});

  ForwardOptions options;  // the whole batch in one pass
  options.routing.top_k = 4;
  options.routing.forces_gold = false;
  options.keeps_scores = true;
  const StepInput input = step_input(batch, 4, {}, {}, at::kCPU);
  const auto scores = forward(math, tensors, input, options).scores.detach();
  ASSERT_EQ(ranked.sizes(), (std::vector<int64_t>{batch.num_asking, 9}));
  const auto best = std::get<0>(scores.topk(9, 1));
  EXPECT_TRUE(at::allclose(scores.gather(1, ranked), best, 1e-5, 1e-6));

  const Recall recall = recall_of(batch, ranked, 4);
  const auto is_hit = input.is_gold.gather(1, ranked.slice(1, 0, 4));
  EXPECT_EQ(recall.num_questions, batch.num_asking);
  EXPECT_EQ(recall.num_documents, static_cast<int64_t>(memory.documents().size()));
  EXPECT_DOUBLE_EQ(recall.at_1, is_hit.select(1, 0).to(at::kDouble).mean().item<double>());
  EXPECT_DOUBLE_EQ(recall.at_k, is_hit.any(1).to(at::kDouble).mean().item<double>());
  EXPECT_LT(recall.at_1, recall.at_k);
}

}  // namespace
}  // namespace msa::train
