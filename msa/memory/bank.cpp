#include "msa/memory/bank.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "msa/base/error.h"
#include "msa/memory/bank_source.h"
#include "msa/memory/gpu_source.h"
#include "msa/memory/segment_layout.h"
#include "msa/storage/encrypted_files.h"

namespace msa::memory {
namespace {

[[noreturn]] void throw_problem(const BankProblem& problem) {
  throw Error(ErrorCode::kCorruption, problem.file, ": ", problem.what);
}

}  // namespace

Bank::Bank(FileSystem& files, std::filesystem::path folder)
    : files_(files), folder_(std::move(folder)) {
  if (!files.exists(folder_ / Catalog::kFile)) {
    throw Error(ErrorCode::kNotFound, "there is no bank at ", folder_.string(), ": it has no ",
                Catalog::kFile);
  }
  storage::expect_key_fits(files, folder_);
}

/// Calls `read`, which gives the state, while no file of any state can be removed.
template <typename Read>
void Bank::take_snapshot(const Read& read) {
  // All is held until it is known what is needed: a writer may be retiring files now.
  std::shared_ptr<GenerationLock> lock = GenerationLock::hold_all(folder_ / kReadersFile);
  catalog_ = Catalog::open(files_, folder_, storage::Database::Mode::kRead);
  snapshot_ = read();
  if (lock) lock->narrow_to(snapshot_.generation);
  lock_ = std::move(lock);
}

std::unique_ptr<Bank> Bank::open(FileSystem& files, const std::filesystem::path& folder,
                                 const DocumentFilter& filter) {
  auto bank = std::unique_ptr<Bank>(new Bank(files, folder));
  bank->take_snapshot([&] { return bank->catalog_->snapshot(filter); });
  return bank;
}

std::unique_ptr<Bank> Bank::open_undamaged(FileSystem& files, const std::filesystem::path& folder,
                                           const DocumentFilter& filter) {
  auto bank = std::unique_ptr<Bank>(new Bank(files, folder));
  bank->take_snapshot([&] {
    BankCheck check = check_bank(files, folder);
    bank->problems_ = std::move(check.problems);
    if (!check.undamaged) throw_problem(bank->problems_.front());
    return *std::move(check.undamaged);
  });
  if (!filter.is_empty()) {
    int64_t row = 0;
    bool counts = false;
    bank->snapshot_.keep([&](const Passage& passage) {
      if (passage.document == row) return counts;
      row = passage.document;
      const auto document = bank->catalog_->find(row);
      counts = document && filter.matches(*document);
      return counts;
    });
  }
  return bank;
}

bool Bank::is_current() const {
  return catalog_->generation() == snapshot_.generation &&
         catalog_->next_passage_id() == snapshot_.next_passage_id;
}

BankStats Bank::stats() const {
  BankStats stats;
  int64_t document = -1;  // every one has passages, side by side
  for (const Passage& passage : snapshot_.passages) {
    stats.documents += passage.document != document;
    document = passage.document;
    stats.chunks += passage.chunks;
    stats.tokens += passage.tokens;
  }
  stats.passages = static_cast<int64_t>(snapshot_.passages.size());
  stats.segments = static_cast<int64_t>(snapshot_.segments.size());
  int64_t stored_chunks = 0;
  std::set<std::string> in_use;
  for (const SegmentRow& segment : snapshot_.segments) {
    stored_chunks += segment.chunks;
    in_use.insert(segment.file);
  }
  stats.live_bytes = stats.chunks * stored_chunk_bytes(snapshot_.facts);
  stats.dead_bytes = (stored_chunks - stats.chunks) * stored_chunk_bytes(snapshot_.facts);
  for (const std::string part : {"", "segments"}) {
    for (const std::string& name : files_.list(folder_ / part)) {
      std::error_code error;
      const auto path = folder_ / part / name;
      if (!std::filesystem::is_regular_file(path, error)) continue;
      const auto size = std::filesystem::file_size(path, error);
      if (error) continue;  // it has gone meanwhile
      stats.bytes += static_cast<int64_t>(size);
      if (!part.empty() && !in_use.contains(name)) stats.dead_bytes += static_cast<int64_t>(size);
    }
  }
  return stats;
}

std::optional<int64_t> Bank::place_of(int64_t passage_id) const {
  const auto found =
      std::lower_bound(snapshot_.passages.begin(), snapshot_.passages.end(), passage_id,
                       [](const Passage& passage, int64_t id) { return passage.id < id; });
  if (found == snapshot_.passages.end() || found->id != passage_id) return std::nullopt;
  return found - snapshot_.passages.begin();
}

std::optional<Document> Bank::find(const std::string& name) const {
  if (problems_.empty()) return with_passages(catalog_->find(name));
  // SQLite's index of names may be what is damaged.
  int64_t row = 0;
  for (const Passage& passage : snapshot_.passages) {
    if (passage.document == row) continue;
    row = passage.document;
    const auto document = catalog_->find(row);
    if (document && document->name == name) return with_passages(document);
  }
  return std::nullopt;
}

/// Nothing if it has been deleted since the bank was opened.
std::optional<Document> Bank::read_document(int64_t row) const {
  auto document = catalog_->find(row);
  if (!document && catalog_->generation() == snapshot_.generation) {
    throw Error(ErrorCode::kCorruption, catalog_path(), ": the document ", row, " is missing");
  }
  return with_passages(std::move(document));
}

/// Nothing for a document of which the state has no passage: it came later, or does not count.
std::optional<Document> Bank::with_passages(std::optional<Document> document) const {
  if (!document) return document;
  // Rows rise as ids do. Clang 14 knows no subrange of the standard library's.
  const auto& all = snapshot_.passages;
  const auto first = std::ranges::lower_bound(all, document->row, {}, &Passage::document);
  const auto end =
      std::ranges::upper_bound(first, all.end(), document->row, {}, &Passage::document);
  if (first == end) return std::nullopt;
  document->passages.assign(first, end);
  for (const Passage& passage : document->passages) {
    const auto size = static_cast<int64_t>(document->text.size());
    if (passage.start < 0 || passage.end < passage.start || passage.end > size) {
      throw Error(ErrorCode::kCorruption, catalog_path(), ": passage ", passage.id,
                  " is not within its document");
    }
  }
  return document;
}

std::vector<Document> Bank::list(int64_t offset, int64_t limit) const {
  std::vector<Document> documents;
  int64_t place = -1;
  int64_t row = -1;
  for (const Passage& passage : snapshot_.passages) {
    if (passage.document == row) continue;
    row = passage.document;
    if (++place < offset) continue;
    if (place - offset >= limit) break;
    auto document = read_document(row);
    if (!document) continue;
    document->text.clear();
    documents.push_back(*std::move(document));
  }
  return documents;
}

std::optional<Document> Bank::document_of(const Passage& passage) const {
  return read_document(passage.document);
}

std::unique_ptr<const BankSegments> Bank::open_segments() const {
  return std::make_unique<BankSegments>(files_, folder_, snapshot_.facts, snapshot_.segments,
                                        snapshot_.passages, lock_);
}

std::unique_ptr<ChunkSource> Bank::source(std::unique_ptr<ChunkSource> previous) const {
  return std::make_unique<BankSource>(open_segments(), dynamic_cast<BankSource*>(previous.get()));
}

std::unique_ptr<GpuSource> Bank::gpu_source(const kernels::Gpu& gpu,
                                            const GpuSourceOptions& options) const {
  return GpuSource::load(gpu, open_segments(), options);
}

}  // namespace msa::memory
