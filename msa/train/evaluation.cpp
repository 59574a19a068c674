#include "msa/train/evaluation.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <random>
#include <unordered_map>

#include "msa/base/error.h"

namespace msa::train {
namespace {

constexpr int64_t kQuestionsOfPass = 256;

/// std::shuffle differs between libraries; this does not.
void shuffle(std::vector<int32_t>& values, std::mt19937_64& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random() % i]);
}

/// Adds documents in the order of their coming; their ids count up from 1.
class MemoryWriter {
 public:
  MemoryWriter(const samples::TrainCorpus& corpus, samples::Batch& batch, int64_t max_tokens)
      : corpus_(corpus), batch_(batch), max_tokens_(max_tokens) {}

  /// The document's place; nothing where there is no room for it.
  std::optional<int32_t> add(int32_t document) {
    const auto found = places_.find(document);
    if (found != places_.end()) return found->second;
    const auto place = static_cast<int32_t>(places_.size());
    std::vector<int32_t> tokens;
    corpus_.append_document(document, place + 1, samples::TrainCorpus::Title::kShown, tokens);
    if (batch_.documents.num_tokens() + static_cast<int64_t>(tokens.size()) > max_tokens_) {
      return std::nullopt;
    }
    batch_.documents.add(tokens, 0);
    return places_[document] = place;
  }

 private:
  const samples::TrainCorpus& corpus_;
  samples::Batch& batch_;
  int64_t max_tokens_;
  std::unordered_map<int32_t, int32_t> places_;
};

/// A question with gold documents at these places.
void add_question(samples::Batch& batch, const text::PromptLayout& layout,
                  const samples::TrainQuestion& question, std::span<const int32_t> gold) {
  const text::Prompt prompt = layout.question(question.text);
  const auto first = static_cast<int32_t>(batch.sequences.num_tokens());
  batch.sequences.add(prompt.tokens, static_cast<int32_t>(layout.question_start()));
  for (size_t i = 0; i < prompt.roles.size(); ++i) {
    if (prompt.roles[i] != text::kQuestionRole) continue;
    batch.query_rows.push_back(first + static_cast<int32_t>(i));
  }
  batch.query_offsets.push_back(static_cast<int32_t>(batch.query_rows.size()));
  batch.gold.insert(batch.gold.end(), gold.begin(), gold.end());
  batch.gold_offsets.push_back(static_cast<int32_t>(batch.gold.size()));
  batch.names.emplace_back(question.name);
  ++batch.num_asking;
}

/// The questions [first, end) of a batch over the same documents.
samples::Batch questions_of(const samples::Batch& all, int64_t first, int64_t end) {
  samples::Batch some;
  some.head = all.head;
  some.documents = all.documents;
  for (auto a = static_cast<size_t>(first); a < static_cast<size_t>(end); ++a) {
    const auto part = [a](const std::vector<int32_t>& values, const std::vector<int32_t>& offsets) {
      return std::span(values).subspan(static_cast<size_t>(offsets[a]),
                                       static_cast<size_t>(offsets[a + 1] - offsets[a]));
    };
    const int32_t shift =
        static_cast<int32_t>(some.sequences.num_tokens()) - all.sequences.offsets[a];
    some.sequences.add(part(all.sequences.tokens, all.sequences.offsets),
                       all.sequences.positions[static_cast<size_t>(all.sequences.offsets[a])]);
    for (const int32_t row : part(all.query_rows, all.query_offsets)) {
      some.query_rows.push_back(row + shift);
    }
    some.query_offsets.push_back(static_cast<int32_t>(some.query_rows.size()));
    const auto gold = part(all.gold, all.gold_offsets);
    some.gold.insert(some.gold.end(), gold.begin(), gold.end());
    some.gold_offsets.push_back(static_cast<int32_t>(some.gold.size()));
    some.names.push_back(all.names[a]);
  }
  some.num_asking = end - first;
  return some;
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
    samples::Batch& batch = batches_.emplace_back();
    batch.head = layout.prompt_head().tokens;
    MemoryWriter memory(corpus, batch, max_tokens);
    for (const int32_t q : questions) {
      const samples::TrainQuestion question = corpus.question(q);
      std::vector<int32_t> gold;
      for (const int32_t document : question.documents) {
        if (const auto place = memory.add(document)) gold.push_back(*place);
      }
      if (gold.size() == question.documents.size()) add_question(batch, layout, question, gold);
    }
    for (const int32_t document : others) {
      if (corpus.is_repeated(document)) continue;
      if (!memory.add(document)) break;
    }
    samples::check(batch, layout.tokenizer().vocab_size());
  }
}

std::vector<Recall> Evaluation::run(const LayerMath& math, const ModelTensors& tensors,
                                    at::Device device) const {
  const c10::NoGradGuard no_gradients;
  ForwardOptions options;
  options.type = options_.type;
  options.routing.top_k = options_.top_k;
  options.routing.forces_gold = false;
  options.keeps_scores = true;
  std::vector<Recall> out;
  for (const samples::Batch& batch : batches_) {
    Recall& recall = out.emplace_back();
    recall.memory_tokens = batch.documents.num_tokens();
    recall.num_documents = batch.documents.num_sequences();
    recall.num_questions = batch.num_asking;
    BatchMemory memory;
    for (int64_t first = 0; first < batch.num_asking; first += kQuestionsOfPass) {
      const int64_t end = std::min(batch.num_asking, first + kQuestionsOfPass);
      const StepInput input = step_input(questions_of(batch, first, end),
                                         math.config().msa.chunk_tokens, {}, {}, device);
      if (first == 0) memory = encode_documents(math, tensors, input, options.type);
      const StepLosses losses = forward_over(math, tensors, input, memory, options);
      const int64_t k = std::min(options_.top_k, input.num_documents);
      const auto best = std::get<1>(losses.scores.topk(k, 1));
      const auto is_hit = input.is_gold.gather(1, best);
      recall.at_1 += is_hit.select(1, 0).sum().item<double>();
      recall.at_k += is_hit.any(1).sum().item<double>();
    }
    const auto asked = static_cast<double>(std::max<int64_t>(1, recall.num_questions));
    recall.at_1 /= asked;
    recall.at_k /= asked;
  }
  return out;
}

}  // namespace msa::train
