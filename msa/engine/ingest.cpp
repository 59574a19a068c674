#include "msa/engine/ingest.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>
#include <numeric>
#include <set>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/corpus/document_reader.h"
#include "msa/corpus/passage_splitter.h"
#include "msa/engine/loaded_model.h"
#include "msa/engine/passage_text.h"
#include "msa/memory/bank.h"

namespace msa::engine {
namespace {

using Clock = std::chrono::steady_clock;

/// Text that is read before all threads tokenise it, and what a token has at least in most texts.
constexpr int64_t kBlockBytes = 256 << 10;
constexpr int64_t kTokenBytes = 3;

/// Documents that wait for a commit, with the tokens of their passages.
struct Batch {
  std::vector<memory::Document> documents;
  std::vector<std::vector<int32_t>> tokens;  // [passages]
  int64_t num_tokens = 0;
};

void append_rows(std::vector<std::vector<float>>& all, std::vector<std::vector<float>>&& part) {
  all.resize(part.size());
  for (size_t layer = 0; layer < part.size(); ++layer) {
    all[layer].insert(all[layer].end(), part[layer].begin(), part[layer].end());
  }
}

/// Encodes passages in packed passes. `after_pass(tokens so far)` says
/// whether to go on; where it says no, the result holds the first passages only.
memory::EncodedDocuments encode(const LoadedModel& model,
                                const std::vector<std::vector<int32_t>>& passages,
                                const std::function<bool(int64_t)>& after_pass) {
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
    auto part = model.encode_documents(std::span(passages).subspan(first, end - first));
    all.num_chunks.insert(all.num_chunks.end(), part.num_chunks.begin(), part.num_chunks.end());
    append_rows(all.key, std::move(part.key));
    append_rows(all.value, std::move(part.value));
    append_rows(all.routing_key, std::move(part.routing_key));
    first = end;
    num_encoded += num_tokens;
    if (!after_pass(num_encoded)) break;
  }
  return all;
}

/// Keeps the first `num_passages` passages.
void truncate(memory::EncodedDocuments& encoded, size_t num_passages) {
  const auto kept = encoded.num_chunks.begin() + static_cast<ptrdiff_t>(num_passages);
  const int64_t all =
      std::accumulate(encoded.num_chunks.begin(), encoded.num_chunks.end(), int64_t{0});
  const int64_t num_chunks = std::accumulate(encoded.num_chunks.begin(), kept, int64_t{0});
  encoded.num_chunks.erase(kept, encoded.num_chunks.end());
  for (auto* layers : {&encoded.key, &encoded.value, &encoded.routing_key}) {
    for (std::vector<float>& rows : *layers) {
      if (all > 0)
        rows.resize(rows.size() / static_cast<size_t>(all) * static_cast<size_t>(num_chunks));
    }
  }
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

class Ingest {
 public:
  Ingest(FileSystem& files, const LoadedModel& model, const IngestOptions& options)
      : files_(files),
        model_(model),
        options_(options),
        reader_(files, options.inputs,
                [this](const corpus::InputProblem& p) { report(p.file, p.line, p.what); }),
        facts_(facts_for(files, model, options)),
        writer_(memory::BankWriter::open(files, options.bank, facts_)) {}

  IngestProgress run() {
    progress_.input_bytes = reader_.total_bytes();
    next_id_ = writer_->next_passage_id();
    while (!is_stopped() && take_block()) {
      if (batch_.num_tokens >= options_.commit_tokens) commit();
    }
    commit();
    if (is_stopped()) {
      throw Error(ErrorCode::kInterrupted, "stopped: ", progress_.documents,
                  " documents are in the bank; run the same command again to go on");
    }
    return progress_;
  }

 private:
  bool is_stopped() const { return options_.stop != nullptr && options_.stop->load(); }

  void report(const std::string& file, int64_t line, const std::string& what) {
    ++progress_.failed;
    if (options_.on_problem) options_.on_problem({file, line, what});
  }

  /// Reads documents worth about kBlockBytes and adds their passages to the batch; all threads
  /// cut and tokenise them. False at the end of the inputs.
  bool take_block() {
    const int64_t wanted = std::min(kBlockBytes, kTokenBytes * options_.commit_tokens);
    std::vector<memory::Document> block;
    int64_t num_bytes = 0;
    bool is_end = false;
    corpus::SourceDocument source;
    while (num_bytes < wanted && !is_stopped()) {
      if (!reader_.next(source)) {
        is_end = true;
        break;
      }
      if (!is_wanted(source)) continue;
      num_bytes += static_cast<int64_t>(source.text.size());
      block.push_back({.row = 0,
                       .name = std::move(source.name),
                       .title = std::move(source.title),
                       .text = std::move(source.text),
                       .attributes = std::move(source.attributes),
                       .source = std::move(source.file),
                       .passages = {}});
    }
    parallel_for(static_cast<int64_t>(block.size()), [&](int64_t n) {
      for (const corpus::Span& span : corpus::split_passages(
               block[n].text, model_.tokenizer(), {.max_tokens = facts_.max_passage_tokens})) {
        block[n].passages.push_back({.start = span.start, .end = span.end});
      }
    });
    tokenize(block);
    std::move(block.begin(), block.end(), std::back_inserter(batch_.documents));
    return !is_end;
  }

  /// Reports a document that cannot be added, counts one that is there.
  bool is_wanted(const corpus::SourceDocument& source) {
    if (!names_.insert(source.name).second) {
      report(source.file, source.line, "the name \"" + source.name + "\" came before");
      return false;
    }
    switch (writer_->knows(source.name, source.title, source.text)) {
      case memory::BankWriter::Known::kSame:
        ++progress_.skipped;
        return false;
      case memory::BankWriter::Known::kOther:
        report(source.file, source.line,
               "the bank holds another document named \"" + source.name + "\"");
        return false;
      case memory::BankWriter::Known::kNo:
        break;
    }
    return true;
  }

  /// Gives the block's passages their ids, in order, and adds their tokens to the batch.
  void tokenize(std::vector<memory::Document>& block) {
    std::vector<std::pair<const memory::Document*, memory::Passage*>> passages;
    for (memory::Document& document : block) {
      for (memory::Passage& passage : document.passages) {
        passage.id = next_id_++;
        passages.emplace_back(&document, &passage);
      }
    }
    const size_t first = batch_.tokens.size();
    batch_.tokens.resize(first + passages.size());
    const int64_t chunk_tokens = facts_.shape.chunk_tokens;
    parallel_for(static_cast<int64_t>(passages.size()), [&](int64_t n) {
      const auto& [document, passage] = passages[n];
      auto prompt = model_.layout().document(passage->id,
                                             passage_text(*document, passage->start, passage->end));
      passage->tokens = static_cast<int64_t>(prompt.tokens.size());
      passage->chunks = (passage->tokens + chunk_tokens - 1) / chunk_tokens;
      batch_.tokens[first + n] = std::move(prompt.tokens);
    });
    for (const auto& [document, passage] : passages) batch_.num_tokens += passage->tokens;
  }

  void commit() {
    if (batch_.documents.empty()) return;
    const uint64_t free = files_.free_bytes(options_.bank);
    if (free < options_.min_free_bytes) {
      throw Error(ErrorCode::kNoSpace, options_.bank.string(), ": ", free >> 20,
                  " MiB are free on the volume, at least ", options_.min_free_bytes >> 20,
                  " MiB must stay so; ", progress_.documents, " documents are in the bank");
    }
    const int64_t tokens_before = progress_.tokens;
    const uint64_t bytes_before = progress_.input_bytes_read;
    auto encoded = encode(model_, batch_.tokens, [&](int64_t num_encoded) {
      const double share =
          static_cast<double>(num_encoded) / static_cast<double>(batch_.num_tokens);
      progress_.tokens = tokens_before + num_encoded;
      progress_.input_bytes_read =
          bytes_before +
          static_cast<uint64_t>(share * static_cast<double>(reader_.bytes_read() - bytes_before));
      show_progress();
      return !is_stopped();
    });
    keep_whole_documents(encoded);
    if (!batch_.documents.empty()) {
      for (const int64_t count : encoded.num_chunks) progress_.chunks += count;
      progress_.passages += static_cast<int64_t>(encoded.num_chunks.size());
      const auto num_documents = static_cast<int64_t>(batch_.documents.size());
      writer_->commit(std::move(batch_.documents), encoded);
      progress_.documents += num_documents;
      show_progress();
    }
    batch_ = {};
    names_.clear();
  }

  /// Drops the documents of the batch that have passages which were not encoded.
  void keep_whole_documents(memory::EncodedDocuments& encoded) {
    size_t num_documents = 0;
    size_t num_passages = 0;
    for (const memory::Document& document : batch_.documents) {
      if (num_passages + document.passages.size() > encoded.num_chunks.size()) break;
      num_passages += document.passages.size();
      ++num_documents;
    }
    batch_.documents.resize(num_documents);
    truncate(encoded, num_passages);
  }

  void show_progress() {
    progress_.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    if (options_.on_progress) options_.on_progress(progress_);
  }

  FileSystem& files_;
  const LoadedModel& model_;
  const IngestOptions& options_;
  IngestProgress progress_;
  corpus::DocumentReader reader_;
  memory::BankFacts facts_;
  std::unique_ptr<memory::BankWriter> writer_;
  std::set<std::string> names_;  // of the batch; the bank knows those before
  Batch batch_;
  int64_t next_id_ = 1;
  Clock::time_point start_ = Clock::now();
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
