#include "msa/engine/batch_reader.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <string_view>
#include <utility>

#include "msa/base/threads.h"
#include "msa/corpus/passage_splitter.h"
#include "msa/corpus/passage_text.h"
#include "msa/engine/loaded_model.h"
#include "msa/memory/catalog_rows.h"

namespace msa::engine {
namespace {

/// Text that is read before all threads tokenise it, and what a token has at least in most texts.
constexpr int64_t kBlockBytes = 256 << 10;
constexpr int64_t kTokenBytes = 3;

/// Repeated documents that a batch remembers at most.
constexpr size_t kMaxRepeated = 10'000;

storage::Digest digest_of(const memory::Document& document) {
  storage::Digester digester;
  digester.add(memory::content_digest(document.title, document.text));
  digester.add(document.attributes);
  return digester.finish();
}

}  // namespace

BatchReader::BatchReader(corpus::DocumentReader& documents, const LoadedModel& model,
                         const IngestOptions& options, const memory::BankFacts& facts,
                         const memory::BankWriter& writer,
                         std::function<void(const IngestProblem&)> on_problem,
                         std::function<void()> on_skip)
    : reader_(documents),
      model_(model),
      options_(options),
      facts_(facts),
      writer_(writer),
      on_problem_(std::move(on_problem)),
      on_skip_(std::move(on_skip)),
      next_id_(writer.next_passage_id()) {}

std::optional<IngestBatch> BatchReader::next() {
  forget_committed();
  IngestBatch batch;
  batch.number = ++num_batches_;
  while (!is_at_end_ && !is_stopped() && has_room(batch)) is_at_end_ = !take_block(batch);
  if ((batch.documents.empty() && batch.repeated.empty()) || is_stopped()) return std::nullopt;
  batch.input_bytes_read = reader_.bytes_read();
  return batch;
}

void BatchReader::forget_names(int64_t batch, const std::vector<std::string>& failed) {
  const std::lock_guard lock(mutex_);
  committed_ = batch;
  failed_.insert(failed_.end(), failed.begin(), failed.end());
}

void BatchReader::forget_committed() {
  const std::lock_guard lock(mutex_);
  for (const std::string& name : failed_) names_.at(name).batch = kFailed;
  failed_.clear();
  std::erase_if(names_, [&](const auto& entry) { return entry.second.batch <= committed_; });
}

bool BatchReader::has_room(const IngestBatch& batch) const {
  return batch.num_tokens < options_.commit_tokens && batch.repeated.size() < kMaxRepeated;
}

/// Reads documents worth about kBlockBytes and adds their passages to the batch; all threads cut
/// and tokenise them. False at the end of the inputs.
bool BatchReader::take_block(IngestBatch& batch) {
  const int64_t wanted = std::min(kBlockBytes, kTokenBytes * options_.commit_tokens);
  std::vector<memory::Document> block;
  int64_t num_bytes = 0;
  bool is_end = false;
  corpus::SourceDocument source;
  while (num_bytes < wanted && batch.repeated.size() < kMaxRepeated && !is_stopped()) {
    if (!reader_.next(source)) {
      is_end = true;
      break;
    }
    memory::Document document{.row = 0,
                              .name = std::move(source.name),
                              .title = std::move(source.title),
                              .text = std::move(source.text),
                              .attributes = std::move(source.attributes),
                              .source = std::move(source.file),
                              .passages = {}};
    if (!is_wanted(document, source.line, batch)) continue;
    batch.lines.push_back(source.line);
    num_bytes += static_cast<int64_t>(document.text.size());
    block.push_back(std::move(document));
  }
  parallel_for(static_cast<int64_t>(block.size()), [&](int64_t n) {
    for (const corpus::Span& span : corpus::split_passages(
             block[n].text, model_.tokenizer(), {.max_tokens = facts_.max_passage_tokens})) {
      block[n].passages.push_back({.start = span.start, .end = span.end});
    }
  });
  tokenize(block, batch);
  std::move(block.begin(), block.end(), std::back_inserter(batch.documents));
  return !is_end;
}

/// Reports a document that cannot be added, counts one that is there, remembers one that is
/// repeated.
bool BatchReader::is_wanted(const memory::Document& document, int64_t line, IngestBatch& batch) {
  using Known = memory::BankWriter::Known;
  const std::string& name = document.name;
  const auto report = [&](const std::string& what) {
    on_problem_({document.source, line, what, ErrorCode::kInvalidArgument});
    return false;
  };
  // Of a name that comes twice the first counts, wherever batches end and also if it cannot be
  // encoded: so a run that is repeated finds everything as it is.
  const auto name_digest = storage::digest_of(std::as_bytes(std::span(name)));
  const bool came_before = options_.replaces && !replaced_.insert(name_digest).second;
  const auto digest = digest_of(document);
  const auto held = names_.find(name);
  if (held != names_.end() && held->second.digest == digest) {
    batch.repeated.push_back({name, document.source, line});
    return false;
  }
  const Known known = held == names_.end() ? writer_.knows(document) : Known::kOther;
  if (known == Known::kSame) {
    on_skip_();
    return false;
  }
  if (known == Known::kOther) {
    const int64_t held_by = held == names_.end() ? 0 : held->second.batch;
    if (came_before || held_by == batch.number || held_by == kFailed)
      return report("the name \"" + name + "\" came before");
    if (!options_.replaces) {
      return report("the bank holds another document named \"" + name + "\"");
    }
  }
  names_[name] = {batch.number, digest};
  return true;
}

/// Gives the block's passages their ids, in order, and adds their tokens to the batch.
void BatchReader::tokenize(std::vector<memory::Document>& block, IngestBatch& batch) {
  std::vector<std::pair<const memory::Document*, memory::Passage*>> passages;
  for (memory::Document& document : block) {
    for (memory::Passage& passage : document.passages) {
      passage.id = next_id_++;
      passages.emplace_back(&document, &passage);
    }
  }
  const size_t first = batch.tokens.size();
  batch.tokens.resize(first + passages.size());
  const int64_t chunk_tokens = facts_.shape.chunk_tokens;
  parallel_for(static_cast<int64_t>(passages.size()), [&](int64_t n) {
    const auto& [document, passage] = passages[n];
    const std::string_view text = std::string_view(document->text)
                                      .substr(static_cast<size_t>(passage->start),
                                              static_cast<size_t>(passage->end - passage->start));
    auto prompt =
        model_.layout().document(passage->id, corpus::passage_text(document->title, text));
    passage->tokens = static_cast<int64_t>(prompt.tokens.size());
    passage->chunks = (passage->tokens + chunk_tokens - 1) / chunk_tokens;
    batch.tokens[first + n] = std::move(prompt.tokens);
  });
  for (const auto& [document, passage] : passages) {
    batch.num_tokens += passage->tokens;
    batch.num_chunks += passage->chunks;
  }
}

}  // namespace msa::engine
