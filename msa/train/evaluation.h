#pragma once
// How well held-back questions are routed, in memories smaller and larger than those of training.

#include <cstdint>
#include <vector>

#include "msa/samples/train_corpus.h"
#include "msa/train/rank_documents.h"

namespace msa::train {

struct EvaluationOptions {
  int64_t num_questions = 500;         // at most
  std::vector<int64_t> memory_tokens;  // of each memory
  uint64_t seed = 1;                   // which questions, and which documents beside theirs
  int64_t top_k = 16;
  at::ScalarType type = at::kFloat;
};

/// Made once for a run: the same questions and memories every time.
class Evaluation {
 public:
  /// The held-back questions' own documents are in every memory, held-back or not; a memory too
  /// small for them asks fewer questions. A memory larger than the corpus holds all of it.
  /// Throws Error(kInvalidArgument) if nothing is held back.
  Evaluation(const samples::TrainCorpus& corpus, const text::PromptLayout& layout,
             const EvaluationOptions& options);

  /// One line for each memory. Throws Error(kInterrupted) when stopped.
  std::vector<Recall> run(const LayerMath& math, const ModelTensors& tensors,
                          const StopAsked& stop = {}) const;

 private:
  EvaluationOptions options_;
  std::vector<samples::Batch> batches_;  // by memory
};

}  // namespace msa::train
