#pragma once
// The catalog of a bank: facts, documents, passages and segments in one SQLite database.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/file_system.h"
#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog_rows.h"
#include "msa/memory/document_filter.h"
#include "msa/memory/segment_use.h"
#include "msa/storage/database.h"

namespace msa::memory {

/// What a catalog holds that can be used, whatever else of it is damaged.
struct CatalogCheck {
  std::vector<BankProblem> problems;  // each damaged row once
  std::optional<Error> failure;       // the first of them that was an error and is no damage
  std::optional<BankFacts> facts;     // if all of them are good
  std::vector<SegmentRow> segments;   // by rising id
  std::vector<SegmentRow> damaged_segments;
  std::vector<Passage> passages;         // by rising segment, then id
  std::map<int64_t, std::string> names;  // of documents by row, damaged ones included
  std::set<int64_t> damaged_documents;   // rows
  bool has_all_segments = false;         // each row was read and is good
  bool has_all_passages = false;
  bool may_hold_dead = false;  // the format is one in which records of deleted documents may stay
  int64_t format = 1;          // these where all facts are good
  int64_t generation = 1;
  int64_t next_passage_id = 1;
};

/// What a catalog held at one moment.
struct CatalogSnapshot {
  BankFacts facts;
  int64_t format = 1;
  int64_t generation = 1;
  int64_t next_passage_id = 1;
  std::vector<SegmentRow> segments;  // by rising id
  std::vector<Passage> passages;     // by rising id

  /// Takes out all passages but those for which is_kept(passage), and segments that have none then.
  template <typename IsKept>
  void keep(const IsKept& is_kept) {
    std::erase_if(passages, [&](const Passage& passage) { return !is_kept(passage); });
    std::unordered_set<int64_t> used;
    for (const Passage& passage : passages) used.insert(passage.segment);
    std::erase_if(segments, [&](const SegmentRow& row) { return !used.contains(row.id); });
  }
};

/// What facts say of all passages, counted: of these by rising id.
struct PassageTotals {
  int64_t passages = 0;
  int64_t documents = 0;
  int64_t last_passage = 0;
  int64_t last_document = 0;

  void add(const Passage& passage) {
    documents += passage.document != last_document;  // those of one stand side by side
    ++passages;
    last_passage = passage.id;
    last_document = passage.document;
  }
};

/// Where a document is.
struct HeldDocument {
  int64_t row = 0;
  std::vector<Passage> passages;
};

/// What one transaction does.
struct CatalogChange {
  std::vector<HeldDocument> deleted;
  std::optional<SegmentRow> segment;  // that is new
  std::vector<Document> documents;    // in it; their rows and those of their passages are filled in
  std::vector<Passage> moved;         // to it
  std::vector<int64_t> dropped;       // segments, of which no passage is left then
};

/// Every row carries a digest over its other columns, checked whenever the row is read: all reads
/// throw Error(kCorruption) naming a damaged row. Calls may overlap: they wait for each other.
class Catalog {
 public:
  static constexpr const char* kFile = "catalog.db";
  static constexpr const char* kNewFile = "catalog.new";

  /// Publishes a catalog without documents: made beside its place, then renamed.
  static void create(FileSystem& files, const std::filesystem::path& folder,
                     const BankFacts& facts);
  static std::unique_ptr<Catalog> open(const FileSystem& files, const std::filesystem::path& folder,
                                       storage::Database::Mode mode);

  /// Throws Error(kCorruption) if a fact is absent or damaged or the tables are not ours,
  /// Error(kInvalidFormat) for a newer format.
  BankFacts facts() const;
  int64_t next_passage_id() const;
  int64_t next_segment() const;

  /// Drawn when the bank was created, and that of its copies; empty in a bank of an older program.
  std::string bank_id() const;

  /// From 1; a higher one after every change that deletes documents or drops segments.
  int64_t generation() const;

  /// All of it but documents, in one state; of the passages those of documents that count.
  CatalogSnapshot snapshot(const DocumentFilter& filter = {}) const;

  /// Names of the documents that count, in the order in which they were committed.
  std::vector<std::string> names(const DocumentFilter& filter) const;

  /// What of each segment is alive, by rising passage id.
  std::vector<SegmentUse> segment_uses() const;

  /// One transaction that takes every number below `next` out of use for segments. After it,
  /// nothing that a failed commit may have left in SQLite's log can come back.
  void reserve_segments_below(int64_t next);

  /// One transaction. A change that deletes or drops makes the catalog one of format 3. Returns the
  /// generation after it. Throws Error(kInvalidArgument) if a passage's id is in use.
  int64_t apply(CatalogChange change);

  std::vector<SegmentRow> segments() const;  // by rising id
  std::vector<Passage> passages() const;     // by rising id

  /// Those with ids from `first` on, below `end`; by rising id.
  std::vector<Passage> passages_between(int64_t first, int64_t end) const;

  /// Where the document of that name is; its text is not read.
  std::optional<HeldDocument> where_is(const std::string& name) const;

  /// Removes from the database file and its log what deleted rows left there. `temporary` holds a
  /// copy of the database afterwards, which the caller removes. Throws Error(kLocked) if others
  /// read the log; the rest has been done then.
  void purge(const std::filesystem::path& temporary) const;

  /// As Database::copy_to and replace_with.
  void copy_to(const std::filesystem::path& path) const;
  void replace_with(const std::filesystem::path& other) const;

  /// Documents by name or row; text included, passages not.
  std::optional<Document> find(const std::string& name) const;
  std::optional<Document> find(int64_t row) const;

  bool has(const std::string& name) const;

  /// Whether the document of `document`'s name has its title, text and attributes; nothing if there
  /// is no such name.
  std::optional<bool> is_same(const Document& document) const;

  /// Reads everything: rows, references between them, and what SQLite itself finds. Throws nothing
  /// for what is damaged. A writer may go on meanwhile.
  CatalogCheck check() const;

 private:
  Catalog(const std::filesystem::path& path, storage::Database::Mode mode, const char* vfs);

  template <typename Work>
  void for_each_document(const DocumentFilter& filter, const Work& work) const;
  int64_t number(const char* fact, int64_t otherwise, int64_t least = 1) const;
  void set(const char* fact, int64_t value);
  int64_t count(const char* of) const;
  size_t expected_passages() const;
  void begin_format_3();
  void expect_totals(const PassageTotals& held, const std::vector<SegmentRow>& segments) const;
  void remove(const std::vector<HeldDocument>& documents);
  void insert(const SegmentRow& segment);
  void insert(std::vector<Document>& documents, int64_t segment);
  void move(std::vector<Passage>& passages, int64_t segment);
  bool has_our_facts() const;
  bool has_our_tables() const;
  template <typename Row>
  Row expect_good(storage::Statement& statement, Checked<Row> (*read)(const storage::Statement&),
                  const char* kind) const;

  std::filesystem::path path_;
  storage::Database database_;
  mutable std::recursive_mutex mutex_;
  // Prepared once: a question reads many documents. Closed before the database, idle between calls.
  mutable std::optional<storage::Statement> find_by_row_;
};

}  // namespace msa::memory
