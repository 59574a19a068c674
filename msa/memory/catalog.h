#pragma once
// The catalog of a bank: facts, documents, passages and segments in one SQLite database.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/memory/bank_facts.h"
#include "msa/storage/database.h"
#include "msa/storage/digest.h"

namespace msa::memory {

/// A committed segment file.
struct SegmentRow {
  int64_t id = 0;
  std::string file;  // name within segments/
  int64_t passages = 0;
  int64_t chunks = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
  storage::Digest digest{};
};

/// Every row carries a digest over its other columns. Calls may overlap: they wait for each other.
class Catalog {
 public:
  static constexpr const char* kFile = "catalog.db";
  static constexpr const char* kNewFile = "catalog.new";

  /// Publishes a catalog without documents: made beside its place, then renamed.
  static void create(FileSystem& files, const std::filesystem::path& folder,
                     const BankFacts& facts);
  static std::unique_ptr<Catalog> open(const std::filesystem::path& folder,
                                       storage::Database::Mode mode);

  /// Throws Error(kCorruption) if a fact is absent or damaged, Error(kInvalidFormat) for a newer
  /// format.
  BankFacts facts() const;
  int64_t next_passage_id() const;

  /// One transaction: a segment, its documents (rows are filled in) and their passages.
  void add(const SegmentRow& segment, std::vector<Document>& documents);

  std::vector<SegmentRow> segments() const;
  std::vector<Passage> passages() const;  // by rising id

  /// Documents by name or row; text included.
  std::optional<Document> find(const std::string& name) const;
  std::optional<Document> find(int64_t row) const;

  /// Digest over title and text of the document of that name, to tell whether it has changed.
  std::optional<std::string> content_digest(const std::string& name) const;
  static std::string content_digest(const std::string& title, const std::string& text);

  /// Documents without text, `limit` from `offset` on, by row.
  std::vector<Document> list(int64_t offset, int64_t limit) const;

  BankStats stats() const;

  /// Damaged rows, and what SQLite itself finds.
  std::vector<BankProblem> problems() const;

 private:
  explicit Catalog(const std::filesystem::path& path, storage::Database::Mode mode);

  std::optional<Document> document(storage::Statement statement) const;

  std::filesystem::path path_;
  storage::Database database_;
  mutable std::recursive_mutex mutex_;
};

}  // namespace msa::memory
