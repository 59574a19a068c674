#include "msa/train/evaluation.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <span>

#include "msa/base/error.h"
#include "msa/samples/asked_memory.h"
#include "msa/samples/reading_batch.h"
#include "msa/train/forward.h"

namespace msa::train {
namespace {

constexpr int64_t kReadingsOfPass = 64;

/// std::shuffle differs between libraries; this does not.
void shuffle(std::vector<int32_t>& values, std::mt19937_64& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random() % i]);
}

/// Sequences all of whose targets are hit.
int64_t num_whole(const samples::Batch& batch, const at::Tensor& hits) {
  const auto* is_hit = hits.const_data_ptr<bool>();
  const auto& rows = batch.targets.rows;
  int64_t count = 0;
  size_t target = 0;
  for (size_t s = 0; s + 1 < batch.sequences.offsets.size(); ++s) {
    bool is_whole = true;
    for (; target < rows.size() && rows[target] < batch.sequences.offsets[s + 1]; ++target) {
      is_whole = is_whole && is_hit[target];
    }
    count += is_whole;
  }
  return count;
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
    if (batches_.empty() && options.num_readings > 0) {
      const auto count = std::min(questions.size(), static_cast<size_t>(options.num_readings));
      reading_ = samples::reading_batch(corpus, layout, memory, std::span(questions).first(count),
                                        options.max_reading_tokens);
      samples::check(reading_, layout.tokenizer().vocab_size());
    }
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

std::optional<Reading> Evaluation::read(const LayerMath& math, const ModelTensors& tensors,
                                        const StopAsked& stop) const {
  if (reading_.num_asking == 0) return std::nullopt;
  const c10::NoGradGuard no_gradients;
  const auto device = tensors.embedding.device();
  ForwardOptions options;
  options.type = options_.type;
  options.weights.term[static_cast<size_t>(samples::LossTerm::kAnswer)] = 1;
  options.totals.add(reading_);
  options.routing.top_k = options_.top_k;
  options.keeps_hits = true;
  StepInput documents;
  read_documents(reading_, math.config().msa.chunk_tokens, device, documents);
  const BatchMemory memory =
      encode_documents(math, tensors, documents, {.type = options.type, .stop = stop});
  double nats = 0;
  int64_t num_exact = 0;
  for (int64_t first = 0; first < reading_.num_asking; first += kReadingsOfPass) {
    expect_no_stop(stop, "reading");
    const int64_t end = std::min(reading_.num_asking, first + kReadingsOfPass);
    const samples::Batch part = samples::questions_of(reading_, first, end);
    StepInput input = documents;
    read_sequences(part, options.weights, options.totals, device, input);
    const StepLosses losses = forward_over(math, tensors, input, memory, options);
    nats += losses.loss.item<double>();
    num_exact += num_whole(part, losses.hits.cpu());
  }
  return Reading{.num_questions = reading_.num_asking,
                 .exact = static_cast<double>(num_exact) / static_cast<double>(reading_.num_asking),
                 .token_probability = std::exp(-nats)};
}

}  // namespace msa::train
