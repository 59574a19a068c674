#pragma once
// The first part of ingest: documents from files, cut into passages and tokenised, in batches.

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/corpus/document_reader.h"
#include "msa/engine/ingest.h"
#include "msa/memory/bank_writer.h"
#include "msa/storage/digest.h"

namespace msa::engine {

class LoadedModel;

/// A document that came before in the same run, the same both times.
struct RepeatedDocument {
  std::string name;
  std::string file;
  int64_t line = 0;
};

/// Documents that are committed together, with the tokens of their passages.
struct IngestBatch {
  int64_t number = 0;  // from 1
  std::vector<memory::Document> documents;
  std::vector<int64_t> lines;                // [documents] where each stands in its file
  std::vector<RepeatedDocument> repeated;    // what came first is of this batch or one before it
  std::vector<std::vector<int32_t>> tokens;  // [passages]
  int64_t num_tokens = 0;
  int64_t num_chunks = 0;
  uint64_t input_bytes_read = 0;  // of all inputs, up to the end of the batch
};

/// Of one thread, but for forget_names(). All that it is given must outlive it.
class BatchReader {
 public:
  /// `on_problem` is called for every document that cannot be added, `on_skip` for every one that
  /// the bank holds: of those that are on their way into it the batches say what is repeated.
  BatchReader(corpus::DocumentReader& documents, const LoadedModel& model,
              const IngestOptions& options, const memory::BankFacts& facts,
              const memory::BankWriter& writer,
              std::function<void(const IngestProblem&)> on_problem, std::function<void()> on_skip);

  /// Documents of at least commit_tokens tokens, fewer, or none, at the end of the inputs and where
  /// many are repeated; their passages have rising ids. Nothing when there are no more, or
  /// options.stop says so.
  std::optional<IngestBatch> next();

  /// Batches up to this one are in the bank, whose writer knows their names, but for the documents
  /// of the names `failed`: these stay taken. At any time, from any thread.
  void forget_names(int64_t batch, const std::vector<std::string>& failed);

 private:
  /// Of a document that the bank may not hold yet.
  struct Held {
    int64_t batch = 0;         // kFailed: its batch is in the bank, it is not
    storage::Digest digest{};  // of title, text and attributes
  };

  static constexpr int64_t kFailed = INT64_MAX;

  bool is_stopped() const { return options_.stop && options_.stop(); }
  void forget_committed();
  bool take_block(IngestBatch& batch);
  bool has_room(const IngestBatch& batch) const;
  bool is_wanted(const memory::Document& document, int64_t line, IngestBatch& batch);
  void tokenize(std::vector<memory::Document>& block, IngestBatch& batch);

  corpus::DocumentReader& reader_;
  const LoadedModel& model_;
  const IngestOptions& options_;
  const memory::BankFacts& facts_;
  const memory::BankWriter& writer_;
  std::function<void(const IngestProblem&)> on_problem_;
  std::function<void()> on_skip_;
  std::map<std::string, Held> names_;   // of documents that the bank may not hold
  std::set<storage::Digest> replaced_;  // of the names so far, of a run that replaces
  std::mutex mutex_;
  int64_t committed_ = 0;            // under the mutex
  std::vector<std::string> failed_;  // under the mutex; of batches since the last next()
  int64_t next_id_ = 1;
  int64_t num_batches_ = 0;
  bool is_at_end_ = false;
};

}  // namespace msa::engine
