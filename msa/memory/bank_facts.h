#pragma once
// What a bank was made with, and what it holds.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "msa/kernels/content_rows.h"
#include "msa/kernels/number_type.h"
#include "msa/memory/chunk_source.h"

namespace msa::memory {

/// Fixed when a bank is created; a model that differs in one of them is refused.
struct BankFacts {
  std::string model_fingerprint;  // over weights and config
  std::string tokenizer_fingerprint;
  std::string model_name;  // for messages; may differ
  MemoryShape shape;
  int64_t max_passage_tokens = 0;  // longer texts were cut
  kernels::NumberType key_type = kernels::NumberType::kBFloat16;
  kernels::ContentType content_type = kernels::ContentType::kBFloat16;
};

/// The newest format that this program knows; older ones are read, newer ones are refused. Format 1
/// has no quantised content, 1 and 2 no dead records; a bank is written in the oldest format that
/// can hold it.
constexpr int64_t kBankFormatVersion = 3;

/// The first format in which records of deleted documents may stay in segments, and segments may be
/// merged.
constexpr int64_t kFormatWithDead = 3;

/// Facts as the texts that the catalog keeps, and back. facts_from throws Error(kCorruption) naming
/// `what` and the fact that is missing or no number, Error(kInvalidFormat) for a newer format.
std::map<std::string, std::string> facts_to_text(const BankFacts& facts);
BankFacts facts_from(const std::map<std::string, std::string>& all, const std::string& what);

/// Throws Error(kMismatch) naming the first field in which two facts differ, the model's name
/// apart. `what` names the bank.
void expect_equal(const BankFacts& bank, const BankFacts& wanted, const std::string& what);

struct BankStats {
  int64_t documents = 0;
  int64_t passages = 0;
  int64_t chunks = 0;
  int64_t tokens = 0;
  int64_t segments = 0;
  int64_t bytes = 0;       // of all files of the bank
  int64_t live_bytes = 0;  // of keys and content in segments
  int64_t dead_bytes = 0;  // the same of deleted documents, and files that are no longer in use
};

/// The unit of memory: what is encoded, routed to and named. A short document is one passage.
struct Passage {
  int64_t id = 0;        // what the model writes; from 1, never used twice
  int64_t document = 0;  // row in the catalog
  int64_t start = 0;     // bytes [start, end) of the document's text
  int64_t end = 0;
  int64_t tokens = 0;
  int64_t chunks = 0;
  int64_t segment = 0;
};

/// What the user gave.
struct Document {
  int64_t row = 0;
  std::string name;  // unique in the bank
  std::string title;
  std::string text;
  std::string attributes;  // a JSON object
  std::string source;      // file that it came from
  std::vector<Passage> passages;
};

/// What is damaged in a bank, and where.
struct BankProblem {
  std::string file;
  int64_t offset = -1;   // -1: the file as a whole
  std::string document;  // name, where it is known
  std::string what;
};

}  // namespace msa::memory
