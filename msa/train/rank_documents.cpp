#include "msa/train/rank_documents.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <span>
#include <tuple>

namespace msa::train {
namespace {

constexpr int64_t kQuestionsOfPass = 256;

}  // namespace

at::Tensor rank_documents(const LayerMath& math, const ModelTensors& tensors,
                          const samples::Batch& batch, const RankingOptions& options) {
  const c10::NoGradGuard no_gradients;
  const auto device = tensors.embedding.device();
  ForwardOptions forward;
  forward.type = options.type;
  forward.routing.top_k = options.top_k;
  forward.routing.forces_gold = false;
  forward.keeps_scores = true;
  StepInput documents;
  read_documents(batch, math.config().msa.chunk_tokens, device, documents);
  const BatchMemory memory =
      encode_documents(math, tensors, documents, {.type = options.type, .stop = options.stop});
  const int64_t depth = std::min(options.depth, documents.num_documents);
  std::vector<at::Tensor> ranked{at::empty({0, depth}, at::kLong)};
  for (int64_t first = 0; first < batch.num_asking; first += kQuestionsOfPass) {
    expect_no_stop(options.stop, "ranking of documents");
    const int64_t end = std::min(batch.num_asking, first + kQuestionsOfPass);
    StepInput input = documents;
    samples::Batch questions = samples::questions_of(batch, first, end);
    questions.gold.clear();  // nobody asks how well it went here
    questions.gold_offsets.assign(questions.gold_offsets.size(), 0);
    read_sequences(questions, {}, {}, device, input);
    const auto scores = forward_over(math, tensors, input, memory, forward).scores;
    ranked.push_back(std::get<1>(scores.topk(depth, 1)).cpu());
  }
  return at::cat(ranked);
}

Recall recall_of(const samples::Batch& batch, const at::Tensor& ranked, int64_t k) {
  Recall recall{.memory_tokens = batch.documents.num_tokens(),
                .num_documents = batch.documents.num_sequences(),
                .num_questions = batch.num_asking};
  const auto places = ranked.accessor<int64_t, 2>();
  for (int64_t a = 0; a < batch.num_asking; ++a) {
    const auto is_gold = [&](int64_t rank) {
      const auto begin = batch.gold.begin() + batch.gold_offsets[static_cast<size_t>(a)];
      const auto end = batch.gold.begin() + batch.gold_offsets[static_cast<size_t>(a) + 1];
      return std::find(begin, end, places[a][rank]) != end;
    };
    bool is_hit = false;
    for (int64_t i = 0; i < std::min(k, ranked.size(1)) && !is_hit; ++i) is_hit = is_gold(i);
    recall.at_1 += is_gold(0);
    recall.at_k += is_hit;
  }
  const auto asked = static_cast<double>(std::max<int64_t>(1, recall.num_questions));
  recall.at_1 /= asked;
  recall.at_k /= asked;
  return recall;
}

}  // namespace msa::train
