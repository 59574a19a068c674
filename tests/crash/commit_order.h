#pragma once
// The order of syncs that makes an acknowledged commit durable, looked for in a recording.

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "tests/crash/bank_script.h"

namespace msa::crash {

/// Looks at the calls of one acknowledged commit: the segment's bytes are synced after the last of
/// them was written, then it gets its name, then its folder is synced, and only then the catalog's
/// log is written; the log is synced after its last byte and its name is durable, before the commit
/// returns and before the database is touched. Returns what is not so, or nothing.
class CommitOrder {
 private:
  static auto of(DiskEvent::Kind kind, std::string path) {
    return [kind, path = std::move(path)](const DiskEvent& event) {
      return event.kind == kind && event.path == path;
    };
  }

 public:
  CommitOrder(const BankRecording& recording, const RecordedOperation& commit)
      : events_(recording.events), first_(commit.first), end_(commit.end) {}

  std::string problem() const {
    using Kind = DiskEvent::Kind;
    const size_t renamed = last(first_, end_, [](const DiskEvent& event) {
      return event.kind == Kind::kRename && event.to.starts_with("bank/segments/");
    });
    if (renamed == end_) return "no segment gets its name";
    const std::string temporary = events_[renamed].path;
    const size_t written = last(first_, end_, of(Kind::kWrite, temporary));
    const size_t synced = last(first_, end_, of(Kind::kSync, temporary));
    if (written == end_ || synced == end_ || synced < written || renamed < synced) {
      return "the segment gets its name before it is synced";
    }
    const size_t named = next(renamed, of(Kind::kSyncFolder, "bank/segments"));
    if (named == end_) return "the folder of segments is not synced";
    const auto log_write = of(Kind::kWrite, "bank/catalog.db-wal");
    if (next(renamed, log_write) < named) return "the catalog is written before the folder's sync";
    const size_t logged = last(named, end_, log_write);
    if (logged == end_) return "nothing is written to the catalog's log";
    const size_t committed = next(logged, of(Kind::kSync, "bank/catalog.db-wal"));
    if (committed == end_) return "the catalog's log is not synced";
    if (next(named, of(Kind::kWrite, "bank/catalog.db")) < committed) {
      return "the database is written before its log is synced";
    }
    const size_t created = last(0, end_, of(Kind::kCreate, "bank/catalog.db-wal"));
    if (created != end_ && next(created, of(Kind::kSyncFolder, "bank")) == end_) {
      return "the name of the catalog's log is not synced";
    }
    return "";
  }

 private:
  /// The first such event from `from` on, and the last in [from, to); end_ if there is none.
  template <typename Matches>
  size_t next(size_t from, const Matches& matches) const {
    while (from < end_ && !matches(events_[from])) ++from;
    return from;
  }
  template <typename Matches>
  size_t last(size_t from, size_t to, const Matches& matches) const {
    while (to > from) {
      if (matches(events_[--to])) return to;
    }
    return end_;
  }

  const std::vector<DiskEvent>& events_;
  size_t first_;
  size_t end_;
};

}  // namespace msa::crash
