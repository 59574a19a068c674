#include "msa/train/evaluation.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "msa/base/error.h"
#include "msa/samples/asked_memory.h"

namespace msa::train {
namespace {

/// std::shuffle differs between libraries; this does not.
void shuffle(std::vector<int32_t>& values, std::mt19937_64& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random() % i]);
}

}  // namespace

Evaluation::Evaluation(const samples::TrainCorpus& corpus, const text::PromptLayout& layout,
                       const EvaluationOptions& options)
    : options_(options) {
  std::mt19937_64 random(options.seed);
  std::vector<int32_t> questions;
  for (int32_t q = 0; q < corpus.num_questions(); ++q) {
    if (corpus.is_question_held_back(q)) questions.push_back(q);
  }
  MSA_CHECK(!questions.empty(), "evaluation needs held-back questions, and there are none");
  shuffle(questions, random);
  questions.resize(std::min(questions.size(), static_cast<size_t>(options.num_questions)));
  std::vector<int32_t> others(static_cast<size_t>(corpus.num_documents()));
  std::iota(others.begin(), others.end(), 0);
  shuffle(others, random);

  for (const int64_t max_tokens : options.memory_tokens) {
    samples::AskedMemory memory(corpus, layout, max_tokens);
    for (const int32_t q : questions) memory.ask(corpus.question(q));
    for (const int32_t document : others) {
      if (corpus.is_repeated(document)) continue;
      if (!memory.add(document)) break;
    }
    samples::check(memory.batch(), layout.tokenizer().vocab_size());
    batches_.push_back(memory.batch());
  }
}

std::vector<Recall> Evaluation::run(const LayerMath& math, const ModelTensors& tensors,
                                    const StopAsked& stop) const {
  std::vector<Recall> out;
  for (const samples::Batch& batch : batches_) {
    const auto ranked = rank_documents(
        math, tensors, batch,
        {.top_k = options_.top_k, .depth = options_.top_k, .type = options_.type, .stop = stop});
    out.push_back(recall_of(batch, ranked, options_.top_k));
  }
  return out;
}

}  // namespace msa::train
