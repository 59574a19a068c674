#pragma once
// A durable memory on disk: one writer, many readers. docs/format/bank.md describes every byte of
// it.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "msa/base/file_lock.h"
#include "msa/base/file_system.h"
#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog.h"
#include "msa/memory/chunk_source.h"
#include "msa/memory/encoded_documents.h"

namespace msa::kernels {
class Gpu;
}

namespace msa::memory {

class BankSegments;
class GpuSource;
struct GpuSourceOptions;

/// Adds documents. Not for use by several threads at once.
class BankWriter {
 public:
  /// Creates the bank if the folder does not exist or is empty. Takes the bank's lock, and removes
  /// what an interrupted writer left. Throws Error(kLocked) naming the writer's process,
  /// Error(kMismatch) if the bank was made with other facts, Error(kInvalidFormat) if the folder is
  /// something else.
  static std::unique_ptr<BankWriter> open(FileSystem& files, const std::filesystem::path& folder,
                                          const BankFacts& facts);

  int64_t next_passage_id() const { return next_passage_id_; }

  enum class Known { kNo, kSame, kOther };
  /// Whether a document of that name is in the bank, with this title and text or others. May run
  /// while another thread commits.
  Known knows(const std::string& name, const std::string& title, const std::string& text) const;

  /// Makes documents durable: when it returns they survive any crash; if it throws, none of them is
  /// in the bank (after a crash that follows a failed sync, all of them may be). Every passage has
  /// its id (rising from next_passage_id()), span, tokens and chunks; `encoded` holds their chunks
  /// in the same order. Throws Error(kInvalidArgument) for anything else and for a name that the
  /// bank holds, Error(kNoSpace) or Error(kIo): the writer can then go on.
  void commit(std::vector<Document> documents, const EncodedDocuments& encoded);

 private:
  BankWriter(FileSystem& files, std::filesystem::path folder, BankFacts facts);

  void clean();

  FileSystem& files_;
  std::filesystem::path folder_;
  BankFacts facts_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<Catalog> catalog_;
  int64_t next_passage_id_ = 1;
  int64_t next_segment_ = 1;
  bool has_failed_ = false;  // the last commit; what it left is still there
};

/// What was committed when it was opened, while a writer may go on. Calls may run at once.
class Bank {
 public:
  /// Throws Error(kNotFound) if there is no bank, Error(kCorruption) if its catalog is damaged.
  static std::unique_ptr<Bank> open(FileSystem& files, const std::filesystem::path& folder);

  const BankFacts& facts() const { return facts_; }
  const std::filesystem::path& folder() const { return folder_; }

  /// Bytes are those of all files now.
  BankStats stats() const;

  /// Passages by rising id: their places are those of source().
  const std::vector<Passage>& passages() const { return passages_; }
  std::optional<int64_t> place_of(int64_t passage_id) const;

  /// The document of a passage; text included.
  Document document_of(const Passage& passage) const;
  std::optional<Document> find(const std::string& name) const;

  /// Documents without text, `limit` from `offset` on, in the order in which they were committed.
  std::vector<Document> list(int64_t offset, int64_t limit) const;

  /// Loads all routing keys into RAM: chunks * router layers * G * D * bytes of the key type.
  /// Content stays on disk.
  std::unique_ptr<ChunkSource> source() const;

  /// The same for a GPU: routing keys in its memory, content as near to it as the budgets allow.
  /// Throws Error(kDevice) as GpuSource::load. `gpu` must outlive it.
  std::unique_ptr<GpuSource> gpu_source(const kernels::Gpu& gpu,
                                        const GpuSourceOptions& options) const;

 private:
  Bank(FileSystem& files, std::filesystem::path folder);

  std::unique_ptr<const BankSegments> open_segments() const;
  int64_t last_segment() const { return segments_.empty() ? 0 : segments_.back().id; }
  bool is_later(const Document& document) const;  // than when the bank was opened

  FileSystem& files_;
  std::filesystem::path folder_;
  std::unique_ptr<Catalog> catalog_;
  BankFacts facts_;
  std::vector<SegmentRow> segments_;
  std::vector<Passage> passages_;
};

/// Reads every byte of a bank: the catalog's rows and references, every block of every segment, and
/// that both say the same. Empty if all is as it was written; a writer may go on meanwhile.
/// Throws Error(kNotFound) if there is no bank.
std::vector<BankProblem> verify_bank(FileSystem& files, const std::filesystem::path& folder);

}  // namespace msa::memory
