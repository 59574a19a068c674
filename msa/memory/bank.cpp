#include "msa/memory/bank.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "msa/base/error.h"
#include "msa/memory/bank_source.h"
#include "msa/memory/gpu_source.h"
#include "msa/memory/segment_layout.h"

namespace msa::memory {

Bank::Bank(FileSystem& files, std::filesystem::path folder)
    : files_(files), folder_(std::move(folder)) {}

std::unique_ptr<Bank> Bank::open(FileSystem& files, const std::filesystem::path& folder) {
  if (!files.exists(folder / Catalog::kFile)) {
    throw Error(ErrorCode::kNotFound, "there is no bank at ", folder.string(), ": it has no ",
                Catalog::kFile);
  }
  auto bank = std::unique_ptr<Bank>(new Bank(files, folder));
  // All is held until it is known what is needed: a writer may be retiring files now.
  std::shared_ptr<GenerationLock> lock = GenerationLock::hold_all(folder / kReadersFile);
  bank->catalog_ = Catalog::open(folder, storage::Database::Mode::kRead);
  bank->snapshot_ = bank->catalog_->snapshot();
  if (lock) lock->narrow_to(bank->snapshot_.generation);
  bank->lock_ = std::move(lock);
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
  auto document = catalog_->find(name);
  // Rows rise: a later one is of a document that was added or replaced since.
  const int64_t last = snapshot_.passages.empty() ? 0 : snapshot_.passages.back().document;
  if (document && document->row > last) return std::nullopt;
  return document;
}

/// Nothing if it has been deleted since the bank was opened.
std::optional<Document> Bank::read_document(int64_t row) const {
  auto document = catalog_->find(row);
  if (!document && catalog_->generation() == snapshot_.generation) {
    throw Error(ErrorCode::kCorruption, (folder_ / Catalog::kFile).string(), ": the document ", row,
                " is missing");
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

Document Bank::document_of(const Passage& passage) const {
  auto document = read_document(passage.document);
  if (!document) {
    throw Error(ErrorCode::kNotFound, folder_.string(), ": the document of passage ", passage.id,
                " has been deleted or replaced since the bank was opened");
  }
  if (passage.start < 0 || passage.end < passage.start ||
      passage.end > static_cast<int64_t>(document->text.size())) {
    throw Error(ErrorCode::kCorruption, (folder_ / Catalog::kFile).string(), ": passage ",
                passage.id, " is not within its document");
  }
  return *std::move(document);
}

std::unique_ptr<const BankSegments> Bank::open_segments() const {
  return std::make_unique<BankSegments>(files_, folder_, snapshot_.facts, snapshot_.segments,
                                        snapshot_.passages, lock_);
}

std::unique_ptr<ChunkSource> Bank::source() const {
  return std::make_unique<BankSource>(open_segments());
}

std::unique_ptr<GpuSource> Bank::gpu_source(const kernels::Gpu& gpu,
                                            const GpuSourceOptions& options) const {
  return GpuSource::load(gpu, open_segments(), options);
}

}  // namespace msa::memory
