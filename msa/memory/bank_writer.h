#pragma once
// Changes a bank: adds, replaces and deletes documents, and gives back the space of deleted ones.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "msa/base/file_lock.h"
#include "msa/base/file_system.h"
#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog.h"
#include "msa/memory/compaction_plan.h"
#include "msa/memory/encoded_documents.h"
#include "msa/memory/retired_files.h"

namespace msa::memory {

/// What commit() does with a document whose name the bank holds.
enum class KnownName { kRefuse, kReplace };

struct Forgotten {
  int64_t documents = 0;             // deleted
  std::vector<std::string> unknown;  // names that the bank did not hold
};

struct Compacted {
  int64_t segments = 0;        // written anew
  int64_t removed_bytes = 0;   // of segment files that went, less those that came; at least 0
  int64_t retained_files = 0;  // no longer in use, but readers hold them
  int64_t retained_bytes = 0;
};

/// The one writer of a bank. Not for use by several threads at once, but for knows() and holds().
///
/// Whatever a call does to the bank is one state after another: after a crash at any moment the
/// bank is as it was before the call, or as after it (compact() keeps the documents as they are,
/// and may have done a part of its work). Once documents have been deleted or replaced, commit()
/// and forget() also keep what lies idle in bounds (CompactionGoal::kUpkeep). What goes wrong then
/// does not fail them, and is tried again by the next one; what is damaged is left alone until a
/// writer opens anew.
class BankWriter {
 public:
  /// Creates the bank if the folder does not exist or is empty. Takes the bank's lock, and removes
  /// what an interrupted writer left. Throws Error(kLocked) naming the writer's process,
  /// Error(kMismatch) if the bank was made with other facts, Error(kInvalidFormat) if the folder is
  /// something else, Error(kCorruption) if the catalog is damaged.
  static std::unique_ptr<BankWriter> open(FileSystem& files, const std::filesystem::path& folder,
                                          const BankFacts& facts,
                                          const CompactionPolicy& policy = {});

  /// The same for a bank that is there, with its own facts. Throws Error(kNotFound) if it is not.
  static std::unique_ptr<BankWriter> open_existing(FileSystem& files,
                                                   const std::filesystem::path& folder,
                                                   const CompactionPolicy& policy = {});

  /// Undoes what a change that failed may have left, if the disk allows it, so that whoever opens
  /// the bank next finds what the calls have said.
  ~BankWriter();
  BankWriter(const BankWriter&) = delete;
  BankWriter& operator=(const BankWriter&) = delete;

  int64_t next_passage_id() const { return next_passage_id_; }

  enum class Known { kNo, kSame, kOther };
  /// Whether a document of that name is in the bank, with this title, text and attributes or
  /// others. May run while another thread commits.
  Known knows(const Document& document) const;

  /// Whether a document of that name is in the bank. May run while another thread commits.
  bool holds(const std::string& name) const { return catalog_->has(name); }

  /// Makes documents durable: when it returns they survive any crash; if it throws, none of them is
  /// in the bank (after a crash that follows a failed sync, all of them may be). With kReplace a
  /// document takes the place of the one of its name in the same moment. Every passage has its id
  /// (rising, not below next_passage_id()), span, tokens and chunks; `encoded` holds their chunks
  /// in the same order. Throws Error(kInvalidArgument) for anything else and for a name that comes
  /// twice or, with kRefuse, is in the bank; Error(kNoSpace) or Error(kIo): the writer can then go
  /// on; Error(kLimit) if what lies idle in the bank would pass three times what is alive, since
  /// compaction keeps failing or readers hold on to it.
  void commit(std::vector<Document> documents, const EncodedDocuments& encoded,
              KnownName known = KnownName::kRefuse);

  /// Deletes documents, durably when it returns; none of them if it throws. Their records stay in
  /// the files until a compaction: only compact() with `purges` leaves nothing of them.
  Forgotten forget(std::span<const std::string> names);

  /// The same for all documents that count, of which there may be none. Throws
  /// Error(kInvalidArgument) for a filter without conditions, Error(kCorruption) if a document is
  /// damaged.
  Forgotten forget_where(const DocumentFilter& filter);

  /// Merges small segments and drops dead records (CompactionGoal::kCompact) by copying what is
  /// alive, byte for byte. Goes group by group: of disk it needs no more than one segment beside
  /// what is there. Segments that are damaged are left as they are; the first Error(kCorruption) is
  /// thrown after the others have been done. `purges`: then no byte of a deleted document is in any
  /// file of the bank; throws Error(kLocked) if readers hold files or the log, after having done
  /// the rest.
  Compacted compact(bool purges = false);

 private:
  BankWriter(FileSystem& files, std::filesystem::path folder, const CompactionPolicy& policy);

  void load(const BankFacts& facts);
  void clean();
  void start_change();
  std::vector<HeldDocument> held_documents(std::span<const Document> documents,
                                           KnownName known) const;
  std::vector<SegmentUse> uses_without(std::span<const HeldDocument> documents) const;
  bool is_bounded(std::span<const SegmentUse> after) const;
  [[noreturn]] void refuse_more() const;
  void publish(const std::filesystem::path& temporary, const SegmentRow& row);
  void apply(CatalogChange change, std::vector<SegmentUse> after);
  void keep_up(int64_t most_groups);
  int64_t merge_groups(CompactionGoal goal, int64_t most_groups);
  int64_t merge_each(const SegmentGroup& group);
  const std::string* damage_in(const SegmentGroup& group) const;
  void merge(const SegmentGroup& group);
  void purge_catalog();

  FileSystem& files_;
  std::filesystem::path folder_;
  BankFacts facts_;
  CompactionPolicy policy_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<Catalog> catalog_;
  std::vector<SegmentUse> uses_;  // by rising passage id
  RetiredFiles retired_;
  int64_t next_passage_id_ = 1;
  int64_t next_segment_ = 1;
  int64_t generation_ = 1;                  // of the catalog; 1: nothing has been deleted or merged
  bool has_failed_ = false;                 // the last change; what it left is still there
  std::string upkeep_failure_;              // of the last upkeep; empty if it went well
  std::map<int64_t, std::string> damaged_;  // segments that upkeep leaves alone, and why
};

}  // namespace msa::memory
