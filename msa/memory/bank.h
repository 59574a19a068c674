#pragma once
// Reads a durable memory on disk, while one writer may change it. docs/format/bank.md describes
// every byte of it.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/base/generation_lock.h"
#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog.h"
#include "msa/memory/chunk_source.h"
#include "msa/memory/document_filter.h"

namespace msa::kernels {
class Gpu;
}

namespace msa::memory {

class BankSegments;
class GpuSource;
struct GpuSourceOptions;

/// What was committed when it was opened, while a writer may go on: its passages, keys and content
/// stay as they were for as long as the bank or what it gave lives. Names and texts are read when
/// they are asked for; those of documents that have been deleted or replaced since are gone. Calls
/// may run at once.
class Bank {
 public:
  /// The file in which readers say what they need (GenerationLock).
  static constexpr const char* kReadersFile = "readers";

  /// The file that tells a backup from a bank of its own: gone once a writer has opened it.
  static constexpr const char* kBackupFile = "BACKUP";

  /// Of the documents only those are there that count for `filter`, as if the bank held no others;
  /// each document's row is read for it (some microseconds each).
  /// Throws Error(kNotFound) if there is no bank, Error(kCorruption) if its catalog is damaged.
  static std::unique_ptr<Bank> open(FileSystem& files, const std::filesystem::path& folder,
                                    const DocumentFilter& filter = {});

  /// The same for a bank of which a part is damaged: reads every byte, as verify_bank, and leaves
  /// out the documents that are damaged, which problems() tells of. Throws Error(kCorruption) only
  /// if what the bank was made with cannot be read.
  static std::unique_ptr<Bank> open_undamaged(FileSystem& files,
                                              const std::filesystem::path& folder,
                                              const DocumentFilter& filter = {});

  /// Empty unless it was opened by open_undamaged.
  const std::vector<BankProblem>& problems() const { return problems_; }

  const BankFacts& facts() const { return snapshot_.facts; }
  int64_t format() const { return snapshot_.format; }
  const std::filesystem::path& folder() const { return folder_; }

  /// False once documents have been added, replaced or deleted since, or segments merged: another
  /// open() gives the state after it. Cheap.
  bool is_current() const;

  /// Bytes of files are those of now.
  BankStats stats() const;

  /// Passages by rising id: their places are those of source().
  const std::vector<Passage>& passages() const { return snapshot_.passages; }
  std::optional<int64_t> place_of(int64_t passage_id) const;

  /// The document of a passage; text included. Nothing if it has been deleted or replaced since the
  /// bank was opened.
  std::optional<Document> document_of(const Passage& passage) const;

  /// Nothing if there is no such document, or it was added, replaced or deleted since.
  std::optional<Document> find(const std::string& name) const;

  /// Documents without text, `limit` from `offset` on, in the order in which they were committed.
  /// Those that have been deleted or replaced since are left out.
  std::vector<Document> list(int64_t offset, int64_t limit) const;

  /// Loads all routing keys into RAM: chunks * router layers * G * D * bytes of the key type.
  /// Content stays on disk. `previous` is the source of an older state of the bank, which is used
  /// up: only segments that it did not have are read, and one layer's keys at most are there twice.
  std::unique_ptr<ChunkSource> source(std::unique_ptr<ChunkSource> previous = nullptr) const;

  /// The same for a GPU: routing keys in its memory, content as near to it as the budgets allow.
  /// Throws Error(kDevice) as GpuSource::load. `gpu` must outlive it.
  std::unique_ptr<GpuSource> gpu_source(const kernels::Gpu& gpu,
                                        const GpuSourceOptions& options) const;

 private:
  Bank(FileSystem& files, std::filesystem::path folder);

  template <typename Read>
  void take_snapshot(const Read& read);
  std::unique_ptr<const BankSegments> open_segments() const;
  std::optional<Document> read_document(int64_t row) const;
  std::optional<Document> with_passages(std::optional<Document> document) const;
  std::string catalog_path() const { return (folder_ / Catalog::kFile).string(); }

  FileSystem& files_;
  std::filesystem::path folder_;
  std::unique_ptr<Catalog> catalog_;
  std::shared_ptr<const GenerationLock> lock_;  // shared with sources, which may outlive the bank
  CatalogSnapshot snapshot_;
  std::vector<BankProblem> problems_;
};

/// What is damaged in a bank, and the rest of it.
struct BankCheck {
  std::vector<BankProblem> problems;
  std::optional<CatalogSnapshot> undamaged;  // without documents of which a part is damaged
};

/// Reads every byte of a bank: the catalog's rows and references, every block of every segment, and
/// that both say the same. Empty if all is as it was written; a writer may go on meanwhile.
/// Throws Error(kNotFound) if there is no bank.
BankCheck check_bank(FileSystem& files, const std::filesystem::path& folder);

/// The problems alone.
std::vector<BankProblem> verify_bank(FileSystem& files, const std::filesystem::path& folder);

}  // namespace msa::memory
