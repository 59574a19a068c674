#include "msa/engine/ingest.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <functional>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/handoff.h"
#include "msa/base/threads.h"
#include "msa/engine/batch_reader.h"
#include "msa/engine/loaded_model.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_writer.h"

namespace msa::engine {
namespace {

using Clock = std::chrono::steady_clock;

/// Adds the rows of a pass to those of a batch, which has `num_values` values a layer.
void append(memory::EncodedDocuments& all, const memory::EncodedDocuments& part,
            int64_t num_values) {
  all.num_chunks.insert(all.num_chunks.end(), part.num_chunks.begin(), part.num_chunks.end());
  const auto num_layers = static_cast<int64_t>(part.key.size());
  for (auto* layers : {&all.key, &all.value, &all.routing_key}) layers->resize(num_layers);
  parallel_for(3 * num_layers, [&](int64_t i) {
    const auto list = i % 3 == 0   ? &memory::EncodedDocuments::key
                      : i % 3 == 1 ? &memory::EncodedDocuments::value
                                   : &memory::EncodedDocuments::routing_key;
    const std::vector<float>& from = (part.*list)[i / 3];
    std::vector<float>& to = (all.*list)[i / 3];
    to.reserve(static_cast<size_t>(num_values));
    to.insert(to.end(), from.begin(), from.end());
  });
}

/// Encodes passages in packed passes. `after_pass(tokens so far)` says
/// whether to go on; where it says no, the result holds the first passages only.
memory::EncodedDocuments encode(const LoadedModel& model, const IngestBatch& batch,
                                const std::function<bool(int64_t)>& after_pass) {
  const auto& passages = batch.tokens;
  const int64_t num_values = batch.num_chunks * model.config().memory_shape().key_dim();
  memory::EncodedDocuments all;
  const int64_t pass_tokens = model.encode_pass_tokens();
  int64_t num_encoded = 0;
  for (size_t first = 0; first < passages.size();) {
    size_t end = first;
    int64_t num_tokens = 0;
    while (
        end < passages.size() &&
        (end == first || num_tokens + static_cast<int64_t>(passages[end].size()) <= pass_tokens)) {
      num_tokens += static_cast<int64_t>(passages[end++].size());
    }
    const auto part = model.encode_documents(std::span(passages).subspan(first, end - first));
    append(all, part, num_values);
    first = end;
    num_encoded += num_tokens;
    if (!after_pass(num_encoded)) break;
  }
  return all;
}

/// The facts of the bank if it exists, with this model's in place of its own, else those of the
/// options.
memory::BankFacts facts_for(FileSystem& files, const LoadedModel& model,
                            const IngestOptions& options) {
  memory::BankFacts facts{.model_fingerprint = model.fingerprint(),
                          .tokenizer_fingerprint = model.tokenizer_fingerprint(),
                          .model_name = model.name(),
                          .shape = model.config().memory_shape(),
                          .max_passage_tokens = options.max_passage_tokens,
                          .key_type = options.key_type,
                          .content_type = options.content_type};
  if (!files.exists(options.bank / memory::Catalog::kFile)) return facts;
  const memory::BankFacts held = memory::Bank::open(files, options.bank)->facts();
  facts.max_passage_tokens = held.max_passage_tokens;
  facts.key_type = held.key_type;
  facts.content_type = held.content_type;
  return facts;
}

/// Counts that the parts of an ingest add to, and the callbacks, of which one runs at a time.
class SharedProgress {
 public:
  explicit SharedProgress(const IngestOptions& options) : options_(options) {}

  /// Calls change(IngestProgress&).
  template <typename Change>
  void update(const Change& change) {
    const std::lock_guard lock(mutex_);
    change(progress_);
  }

  /// The same, then shows the result.
  template <typename Change>
  void update_and_show(const Change& change) {
    const std::lock_guard lock(mutex_);
    change(progress_);
    progress_.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    if (options_.on_progress) options_.on_progress(progress_);
  }

  void report(const IngestProblem& problem) {
    const std::lock_guard lock(mutex_);
    ++progress_.failed;
    if (options_.on_problem) options_.on_problem(problem);
  }

  IngestProgress get() const {
    const std::lock_guard lock(mutex_);
    return progress_;
  }

 private:
  const IngestOptions& options_;
  Clock::time_point start_ = Clock::now();
  mutable std::mutex mutex_;
  IngestProgress progress_;
};

/// A thread that ends once `close` has been called, and what it threw. It works with as many
/// threads as the one that started it.
class Stage {
 public:
  Stage(std::function<void()> close, const std::function<void()>& work)
      : close_(std::move(close)), thread_([this, work, count = num_threads()] {
          set_num_threads(count);
          try {
            work();
          } catch (...) {
            failure_ = std::current_exception();
          }
          close_();
        }) {}
  ~Stage() {
    if (!thread_.joinable()) return;
    close_();
    thread_.join();
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  /// Waits for its end and passes its exception on.
  void finish() {
    thread_.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::function<void()> close_;
  std::exception_ptr failure_;
  std::thread thread_;
};

class Ingest {
 public:
  Ingest(FileSystem& files, const LoadedModel& model, const IngestOptions& options)
      : files_(files),
        model_(model),
        options_(options),
        progress_(options),
        documents_(files, options.inputs,
                   [this](const corpus::InputProblem& problem) {
                     progress_.report({problem.file, problem.line, problem.what, problem.code});
                   }),
        facts_(facts_for(files, model, options)),
        writer_(memory::BankWriter::open(files, options.bank, facts_)),
        reader_(
            documents_, model, options, facts_, *writer_,
            [this](const IngestProblem& problem) { progress_.report(problem); },
            [this] { progress_.update([](IngestProgress& p) { ++p.skipped; }); }) {}

  IngestProgress run() {
    progress_.update([&](IngestProgress& p) { p.input_bytes = documents_.total_bytes(); });
    const auto count_committed = [&] {
      progress_.update_and_show([&](IngestProgress& p) { p.tokens = committed_tokens_; });
    };
    try {
      work();
    } catch (...) {
      count_committed();
      throw;
    }
    count_committed();
    return progress_.get();
  }

 private:
  struct EncodedBatch {
    int64_t number = 0;
    std::vector<memory::Document> documents;
    memory::EncodedDocuments encoded;
    std::vector<std::string> failed;  // names of those of its documents that could not be encoded
    int64_t num_repeated = 0;         // documents that are these, or of a batch before, once more
  };

  bool is_stopped() const { return options_.stop && options_.stop(); }

  void work() {
    if (options_.overlaps) {
      run_side_by_side();
    } else {
      while (auto batch = reader_.next()) commit(encode_batch(*std::move(batch)));
    }
    if (!is_stopped()) return;
    throw Error(ErrorCode::kInterrupted, "stopped: ", progress_.get().documents,
                " documents are in the bank; run the same command again to go on");
  }

  /// While a batch is encoded the next one is read and the one before is written.
  void run_side_by_side() {
    Handoff<IngestBatch> read;
    Handoff<EncodedBatch> encoded;
    const auto close = [&] {
      read.close();
      encoded.close();
    };
    // A reader that has ended leaves the others to do what is on its way.
    Stage reading([&] { read.close(); },
                  [&] {
                    while (auto batch = reader_.next()) {
                      if (!read.put(*std::move(batch))) return;
                    }
                  });
    Stage writing(close, [&] {
      while (auto batch = encoded.take()) commit(*std::move(batch));
    });
    while (auto batch = read.take()) {
      // Once it is stopped a batch may lack documents, and no other one may follow it.
      if (!encoded.put(encode_batch(*std::move(batch))) || is_stopped()) break;
    }
    close();
    writing.finish();
    reading.finish();
  }

  void expect_room() const {
    const uint64_t free = files_.free_bytes(options_.bank);
    if (free >= options_.min_free_bytes) return;
    throw Error(ErrorCode::kNoSpace, options_.bank.string(), ": ", free >> 20,
                " MiB are free on the volume, at least ", options_.min_free_bytes >> 20,
                " MiB must stay so; ", progress_.get().documents, " documents are in the bank");
  }

  EncodedBatch encode_batch(IngestBatch batch) {
    expect_room();
    const IngestProgress before = progress_.get();
    auto encoded = encode(model_, batch, [&](int64_t num_encoded) {
      const double share = static_cast<double>(num_encoded) / static_cast<double>(batch.num_tokens);
      progress_.update_and_show([&](IngestProgress& p) {
        p.tokens = before.tokens + num_encoded;
        p.input_bytes_read =
            before.input_bytes_read +
            static_cast<uint64_t>(
                share * static_cast<double>(batch.input_bytes_read - before.input_bytes_read));
      });
      return !is_stopped();
    });
    const bool is_whole = encoded.num_chunks.size() == batch.tokens.size();
    auto failed = keep_good_documents(batch, encoded);
    return {.number = batch.number,
            .documents = std::move(batch.documents),
            .encoded = std::move(encoded),
            .failed = std::move(failed),
            // What came first may not be encoded yet.
            .num_repeated = is_whole ? count_repeated(batch.repeated) : 0};
  }

  /// Drops the documents that have passages which were not encoded, and reports those whose
  /// encoding is not finite: their names.
  std::vector<std::string> keep_good_documents(IngestBatch& batch,
                                               memory::EncodedDocuments& encoded) {
    std::vector<std::string> failed;
    std::vector<bool> is_good = memory::are_finite(encoded);
    std::vector<memory::Document> good;
    auto end = is_good.begin();
    for (size_t n = 0; n < batch.documents.size(); ++n) {
      memory::Document& document = batch.documents[n];
      const auto begin = end;
      if (std::ssize(document.passages) > is_good.end() - begin) break;
      end += std::ssize(document.passages);
      if (std::find(begin, end, false) == end) {
        good.push_back(std::move(document));
      } else {
        std::fill(begin, end, false);
        not_finite_.insert(document.name);
        failed.push_back(document.name);
        report_not_finite(document.name, document.source, batch.lines[n]);
      }
    }
    std::fill(end, is_good.end(), false);
    memory::keep(is_good, encoded);
    batch.documents = std::move(good);
    return failed;
  }

  void report_not_finite(const std::string& name, const std::string& file, int64_t line) {
    progress_.report(
        {file, line,
         "the model encodes the document \"" + name + "\" as numbers that are not finite",
         ErrorCode::kInternal});
  }

  /// How many of them are there with this batch. The others are reported, as the first one was.
  int64_t count_repeated(const std::vector<RepeatedDocument>& repeated) {
    int64_t count = 0;
    for (const RepeatedDocument& document : repeated) {
      if (not_finite_.contains(document.name)) {
        report_not_finite(document.name, document.file, document.line);
      } else {
        ++count;
      }
    }
    return count;
  }

  void commit(EncodedBatch batch) {
    if (!batch.documents.empty()) commit_documents(batch);
    reader_.forget_names(batch.number, batch.failed);
    progress_.update([&](IngestProgress& p) { p.skipped += batch.num_repeated; });
  }

  void commit_documents(EncodedBatch& batch) {
    expect_room();
    const auto& num_chunks = batch.encoded.num_chunks;
    const auto num_documents = static_cast<int64_t>(batch.documents.size());
    int64_t num_replaced = 0;
    int64_t num_tokens = 0;
    for (const auto& document : batch.documents) {
      num_replaced += options_.replaces && writer_->holds(document.name);
      for (const auto& passage : document.passages) num_tokens += passage.tokens;
    }
    writer_->commit(std::move(batch.documents), batch.encoded,
                    options_.replaces ? memory::KnownName::kReplace : memory::KnownName::kRefuse);
    committed_tokens_ += num_tokens;
    progress_.update_and_show([&](IngestProgress& p) {
      p.chunks += std::accumulate(num_chunks.begin(), num_chunks.end(), int64_t{0});
      p.passages += static_cast<int64_t>(num_chunks.size());
      p.documents += num_documents;
      p.replaced += num_replaced;
    });
  }

  FileSystem& files_;
  const LoadedModel& model_;
  const IngestOptions& options_;
  SharedProgress progress_;
  corpus::DocumentReader documents_;  // before the writer: without inputs there is no new bank
  memory::BankFacts facts_;
  std::unique_ptr<memory::BankWriter> writer_;
  BatchReader reader_;
  std::set<std::string> not_finite_;  // names; of the thread that encodes
  int64_t committed_tokens_ = 0;      // of the thread that commits, until that has ended
};

}  // namespace

IngestProgress ingest(FileSystem& files, const LoadedModel& model, const IngestOptions& options) {
  MSA_CHECK(model.config().has_memory(), "the model ", model.name(),
            " has no router layers: it cannot encode documents");
  MSA_CHECK(options.commit_tokens >= 1, "commit_tokens must be at least 1, got ",
            options.commit_tokens);
  return Ingest(files, model, options).run();
}

}  // namespace msa::engine
