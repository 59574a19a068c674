#pragma once
// Question answering over a set of questions whose supporting documents are known: routing, naming,
// reading.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/base/stop.h"
#include "msa/engine/answer.h"
#include "msa/engine/ingest.h"
#include "msa/engine/loaded_model.h"

namespace msa::eval {

struct QaOptions {
  std::filesystem::path set;  // folder with documents.jsonl and questions.jsonl, each also .zst
  std::string questions;  // empty: all; a number: the first so many; else a file of question ids
  std::filesystem::path extra;  // documents among which those of the set are hidden; empty: none
  std::optional<int64_t> num_extra;  // so many of them, drawn with a fixed seed; not set: all
  bool leaves_gold_out = false;  // nothing in memory answers: documents of the questions, and those
                                 // of the same text, are not there; needs `extra`
  std::filesystem::path work;    // folder for the bank; an existing bank there is used again
  kernels::NumberType key_type = kernels::NumberType::kBFloat16;        // of a new bank
  kernels::ContentType content_type = kernels::ContentType::kBFloat16;  // of a new bank
  engine::AskOptions ask;
  bool reads = true;                                             // false: routing and BM25 alone
  std::function<void(const engine::IngestProgress&)> on_ingest;  // while documents are encoded
  std::function<void(int64_t done, int64_t total)> on_progress;
  std::function<void(const std::string& line)>
      on_question;      // a JSON object a question, for --output
  StopAsked stop = {};  // true: throws Error(kInterrupted) at the next question
};

struct Recall {
  double at_1 = 0;
  double at_16 = 0;
};

struct LayerRecall {
  int64_t layer = 0;
  Recall recall;
};

/// Exact match and F1 as SQuAD measures them, best of the references.
struct Reading {
  double exact = 0;
  double f1 = 0;
};

/// Shares are of questions with a gold document in memory (of all where gold is left out); a
/// document with the same text counts as gold. Rankings are of distinct texts: passages of one
/// document and copies of one text take one place together. A layer's ranking has the passages that
/// the model chose there, no more of them where some fall together.
struct QaReport {
  int64_t questions = 0;
  int64_t documents = 0;
  int64_t tokens = 0;
  Recall fused;  // by the mean of the layers' scores
  std::vector<LayerRecall> layers;
  double union_at_16 = 0;  // chosen by any layer
  Recall bm25;             // k1 1.2, b 0.75, over title and text
  double named = 0;        // the first id written is gold
  Reading gold_text;       // with the gold texts appended
  Reading end_to_end;
  double declined = 0;  // end to end: the model says that it does not know
  double ingest_tokens_per_second = 0;
  double milliseconds_per_question = 0;  // median, end to end
};

/// Throws Error(kInvalidArgument) for options out of range and for a bank in `work` that holds
/// other documents, Error(kInvalidFormat) for a name that two documents have, else as load_qa_set
/// and ingest.
QaReport evaluate_qa(FileSystem& files, const engine::LoadedModel& model, const QaOptions& options);

}  // namespace msa::eval
