#pragma once
// Documents from files into a bank: read, cut into passages, encode in packed batches, commit each
// batch.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/file_system.h"
#include "msa/base/stop.h"
#include "msa/kernels/content_rows.h"
#include "msa/kernels/number_type.h"

namespace msa::engine {

class LoadedModel;

/// State of a run; every count is of this run alone.
struct IngestProgress {
  int64_t documents = 0;          // committed
  int64_t passages = 0;           // committed
  int64_t tokens = 0;             // encoded; at the end, and when it failed, those committed
  int64_t chunks = 0;             // committed
  int64_t replaced = 0;           // of these documents: the bank held others of their names
  int64_t skipped = 0;            // already in the bank, or repeated, with the same text
  int64_t failed = 0;             // reported through on_problem
  uint64_t input_bytes = 0;       // of all inputs
  uint64_t input_bytes_read = 0;  // so far
  double seconds = 0;
};

/// One input that did not become a document. The rest goes on.
struct IngestProblem {
  std::string file;
  int64_t line = 0;  // 0 where the file has no lines
  std::string what;
  ErrorCode code = ErrorCode::kInvalidFormat;
};

struct IngestOptions {
  std::filesystem::path bank;  // created if it does not exist
  std::vector<std::filesystem::path> inputs;
  int64_t max_passage_tokens = 480;  // longer texts are cut; kept in the bank's facts
  int64_t commit_tokens =
      200'000;  // a durable commit at least this often: bounds memory and what a kill costs
  bool replaces = false;  // a document takes the place of another one of its name in the bank; else
                          // that is a problem of the document
  // Reads the next batch and writes the one before while one is encoded: for a model on a GPU,
  // where the processor has nothing else to do. Takes the memory of two batches more.
  bool overlaps = false;
  kernels::NumberType key_type = kernels::NumberType::kBFloat16;        // of a new bank
  kernels::ContentType content_type = kernels::ContentType::kBFloat16;  // of a new bank
  uint64_t min_free_bytes = uint64_t{256} << 20;  // stops before the volume has less
  // Both are called from several threads, one at a time.
  std::function<void(const IngestProgress&)>
      on_progress;  // after every pass, about 2,000 tokens, on a GPU 131,000; and before an error
                    // of a run that had begun leaves it, with what is in the bank by then
  std::function<void(const IngestProblem&)> on_problem;
  // True: commits the documents that are encoded, at once, then throws Error(kInterrupted).
  StopAsked stop = {};
};

/// Resumable: run again with the same inputs, documents that are there are skipped.
/// Peak memory is bounded by commit_tokens, not by the corpus.
IngestProgress ingest(FileSystem& files, const LoadedModel& model, const IngestOptions& options);

}  // namespace msa::engine
