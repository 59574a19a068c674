#pragma once
// Questions to a bank that is there: routing and answers, one record a question, so that two runs
// can be compared.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/base/stop.h"
#include "msa/engine/answer.h"
#include "msa/engine/engine.h"
#include "msa/engine/loaded_model.h"
#include "msa/eval/qa.h"

namespace msa::eval {

struct BankQaOptions {
  std::filesystem::path questions;  // jsonl, also .zst
  engine::AskOptions ask;           // num_documents is set to what rankings need
  bool reads = true;                // false: routing alone
  double max_seconds = 0;           // no question but the first begins later; 0: all are asked
  std::function<void(int64_t done, int64_t total)> on_progress;
  std::function<void(const std::string& line)> on_question;  // a JSON object a question
  StopAsked stop = {};  // true: throws Error(kInterrupted) at the next question
};

/// Shares are of the questions asked; those without a gold document in the bank are left out. What
/// counts as gold and what takes one place in a ranking is as in QaReport.
struct BankQaReport {
  int64_t questions = 0;
  int64_t left_out = 0;  // no document of theirs is in the bank
  int64_t documents = 0;
  int64_t passages = 0;
  int64_t chunks = 0;
  int64_t tokens = 0;
  double seconds = 0;  // all questions
  Recall fused;        // by the mean of the layers' scores
  std::vector<LayerRecall> layers;
  double union_at_16 = 0;  // chosen by any layer
  double named = 0;        // the first id written is gold
  Reading end_to_end;
  double rounds = 0;  // mean
  double median_ms = 0;
  double p95_ms = 0;
};

/// Nothing is read of the bank's documents but what the answers and their rankings need.
/// `engine` has the bank open under `model`. Throws as Engine::ask and read_questions,
/// Error(kInvalidArgument) if no question can be asked.
BankQaReport evaluate_bank_qa(FileSystem& files, const engine::LoadedModel& model,
                              const engine::Engine& engine, const BankQaOptions& options);

}  // namespace msa::eval
