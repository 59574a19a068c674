#pragma once
// How well held-back questions are routed, in memories smaller and larger than those of training,
// and how well their texts are read.

#include <cstdint>
#include <optional>
#include <vector>

#include "msa/samples/train_corpus.h"
#include "msa/train/rank_documents.h"

namespace msa::train {

struct EvaluationOptions {
  int64_t num_questions = 500;         // at most
  int64_t num_readings = 200;          // of them, at most; 0: nothing is read
  int64_t max_reading_tokens = 2'048;  // of one; longer ones are left out
  std::vector<int64_t> memory_tokens;  // of each memory
  uint64_t seed = 1;                   // which questions, and which documents beside theirs
  int64_t top_k = 16;
  at::ScalarType type = at::kFloat;
};

/// Of answers whose texts are appended and whose frame is given.
struct Reading {
  int64_t num_questions = 0;
  double exact = 0;              // share whose every token is the most probable one, its end too:
                                 // what greedy decoding writes
  double token_probability = 0;  // geometric mean over their tokens
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

  /// Of the first memory's questions that have an answer; nothing if there are none. Throws
  /// Error(kInterrupted) when stopped.
  std::optional<Reading> read(const LayerMath& math, const ModelTensors& tensors,
                              const StopAsked& stop = {}) const;

 private:
  EvaluationOptions options_;
  std::vector<samples::Batch> batches_;  // by memory
  samples::Batch reading_;
};

}  // namespace msa::train
