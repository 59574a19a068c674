#pragma once
// How well held-back questions are routed, in memories smaller and larger than those of training.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "msa/samples/train_corpus.h"
#include "msa/train/forward.h"

namespace msa::train {

/// Documents in order of the mean score over router layers, as inference ranks them.
struct Recall {
  int64_t memory_tokens = 0;
  int64_t num_documents = 0;
  int64_t num_questions = 0;
  double at_1 = 0;  // share of questions with a gold document first
  double at_k = 0;  // ... among the first K
};

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

  /// One line for each memory.
  std::vector<Recall> run(const LayerMath& math, const ModelTensors& tensors,
                          at::Device device) const;

 private:
  EvaluationOptions options_;
  std::vector<samples::Batch> batches_;  // by memory
};

}  // namespace msa::train
