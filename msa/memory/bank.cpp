#include "msa/memory/bank.h"

#include <algorithm>

#include "msa/base/error.h"
#include "msa/memory/bank_source.h"
#include "msa/memory/gpu_source.h"

namespace msa::memory {

Bank::Bank(FileSystem& files, std::filesystem::path folder)
    : files_(files), folder_(std::move(folder)) {}

std::unique_ptr<Bank> Bank::open(FileSystem& files, const std::filesystem::path& folder) {
  if (!files.exists(folder / Catalog::kFile)) {
    throw Error(ErrorCode::kNotFound, "there is no bank at ", folder.string(), ": it has no ",
                Catalog::kFile);
  }
  auto bank = std::unique_ptr<Bank>(new Bank(files, folder));
  bank->catalog_ = Catalog::open(folder, storage::Database::Mode::kRead);
  bank->facts_ = bank->catalog_->facts();
  bank->segments_ = bank->catalog_->segments();
  // A writer may have committed between the two reads: what the segments do not hold is left out.
  bank->passages_ = bank->catalog_->passages();
  const int64_t last = bank->last_segment();
  std::erase_if(bank->passages_, [&](const Passage& passage) { return passage.segment > last; });
  return bank;
}

BankStats Bank::stats() const {
  BankStats stats;
  int64_t document = -1;  // every one has passages, side by side
  for (const Passage& passage : passages_) {
    stats.documents += passage.document != document;
    document = passage.document;
  }
  stats.segments = static_cast<int64_t>(segments_.size());
  for (const SegmentRow& segment : segments_) {
    stats.passages += segment.passages;
    stats.chunks += segment.chunks;
    stats.tokens += segment.tokens;
  }
  for (const char* part : {"", "segments"}) {
    for (const std::string& name : files_.list(folder_ / part)) {
      std::error_code error;
      const auto path = folder_ / part / name;
      if (std::filesystem::is_regular_file(path, error)) {
        stats.bytes += static_cast<int64_t>(std::filesystem::file_size(path, error));
      }
    }
  }
  return stats;
}

std::optional<int64_t> Bank::place_of(int64_t passage_id) const {
  const auto found =
      std::lower_bound(passages_.begin(), passages_.end(), passage_id,
                       [](const Passage& passage, int64_t id) { return passage.id < id; });
  if (found == passages_.end() || found->id != passage_id) return std::nullopt;
  return found - passages_.begin();
}

bool Bank::is_later(const Document& document) const {
  return !document.passages.empty() && document.passages.front().segment > last_segment();
}

std::optional<Document> Bank::find(const std::string& name) const {
  auto document = catalog_->find(name);
  if (document && is_later(*document)) return std::nullopt;
  return document;
}

std::vector<Document> Bank::list(int64_t offset, int64_t limit) const {
  auto documents = catalog_->list(offset, limit);
  std::erase_if(documents, [&](const Document& document) { return is_later(document); });
  return documents;
}

Document Bank::document_of(const Passage& passage) const {
  auto document = catalog_->find(passage.document);
  if (!document || passage.start < 0 || passage.end < passage.start ||
      passage.end > static_cast<int64_t>(document->text.size())) {
    throw Error(ErrorCode::kCorruption, (folder_ / Catalog::kFile).string(), ": passage ",
                passage.id, " has no document");
  }
  return *std::move(document);
}

std::unique_ptr<const BankSegments> Bank::open_segments() const {
  return std::make_unique<BankSegments>(files_, folder_, facts_, segments_, passages_);
}

std::unique_ptr<ChunkSource> Bank::source() const {
  return std::make_unique<BankSource>(open_segments());
}

std::unique_ptr<GpuSource> Bank::gpu_source(const kernels::Gpu& gpu,
                                            const GpuSourceOptions& options) const {
  return GpuSource::load(gpu, open_segments(), options);
}

}  // namespace msa::memory
