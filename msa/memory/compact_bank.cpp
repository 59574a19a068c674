#include <algorithm>
#include <cstdint>
#include <exception>
#include <optional>
#include <utility>

#include "msa/base/error.h"
#include "msa/memory/bank_writer.h"
#include "msa/memory/merge_segments.h"
#include "msa/memory/segment_layout.h"

namespace msa::memory {
namespace {

int64_t file_bytes(std::span<const SegmentUse> uses) {
  int64_t sum = 0;
  for (const SegmentUse& use : uses) sum += use.row.bytes;
  return sum;
}

}  // namespace

/// Whether at most twice of what is alive lies idle then, and the policy's spare bytes.
bool BankWriter::is_bounded(std::span<const SegmentUse> after) const {
  const int64_t chunk_bytes = stored_chunk_bytes(facts_);
  int64_t alive = 0;
  int64_t idle = retired_.num_bytes();
  for (const SegmentUse& use : after) {
    alive += live_bytes(use, chunk_bytes);
    idle += dead_bytes(use, chunk_bytes);
  }
  return idle <= 2 * alive + policy_.spare_bytes;
}

void BankWriter::refuse_more() const {
  const std::string reason =
      !upkeep_failure_.empty()
          ? "compaction fails: " + upkeep_failure_
          : std::to_string(retired_.num_bytes()) + " bytes of it are held by readers of old states";
  throw Error(ErrorCode::kLimit, folder_.string(),
              ": over twice as much lies idle in the bank as is alive, nothing is added to it; ",
              reason);
}

/// After a change that is durable: at most so many groups, so that no change waits for the whole
/// bank; the next ones go on.
void BankWriter::keep_up(int64_t most_groups) {
  if (generation_ == 1) return;
  try {
    retired_.remove_unneeded();
    merge_groups(CompactionGoal::kUpkeep, most_groups);
    upkeep_failure_.clear();
  } catch (const std::exception& error) {
    upkeep_failure_ = error.what();
  }
}

/// Returns how many segments have been replaced.
int64_t BankWriter::merge_groups(CompactionGoal goal, int64_t most_groups) {
  if (has_failed_) clean();
  const int64_t chunk_bytes = stored_chunk_bytes(facts_);
  const auto groups = plan_compaction(uses_, chunk_bytes, policy_, goal);
  std::optional<Error> damage;
  int64_t num_replaced = 0;
  // From the last one on: the places of those before it stay as they are.
  for (auto group = groups.rbegin(); group != groups.rend() && most_groups > 0; ++group) {
    if (goal == CompactionGoal::kUpkeep) {
      if (const std::string* known = damage_in(*group)) {
        damage = Error(ErrorCode::kCorruption, *known);
        continue;
      }
      int64_t needed = policy_.spare_bytes;
      for (size_t n = group->first; n < group->end; ++n)
        needed += live_bytes(uses_[n], chunk_bytes);
      if (static_cast<int64_t>(std::min<uint64_t>(files_.free_bytes(folder_), INT64_MAX)) <
          needed) {
        throw Error(ErrorCode::kNoSpace, folder_.string(), ": compaction needs ", needed,
                    " bytes of room");
      }
    }
    --most_groups;
    try {
      merge(*group);
      num_replaced += static_cast<int64_t>(group->end - group->first);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorruption) throw;
      if (!damage) damage = error;
      if (goal == CompactionGoal::kUpkeep) {
        for (size_t n = group->first; n < group->end; ++n) damaged_[uses_[n].row.id] = error.what();
      } else {
        num_replaced += merge_each(*group);
      }
    }
  }
  if (damage) throw Error(*damage);
  return num_replaced;
}

/// What upkeep found when it last read these segments; null if it has not.
const std::string* BankWriter::damage_in(const SegmentGroup& group) const {
  for (size_t n = group.first; n < group.end; ++n) {
    const auto found = damaged_.find(uses_[n].row.id);
    if (found != damaged_.end()) return &found->second;
  }
  return nullptr;
}

/// Writes the segments of a group with dead records anew, one by one, but for those that are
/// damaged. Returns how many.
int64_t BankWriter::merge_each(const SegmentGroup& group) {
  int64_t num_replaced = 0;
  for (size_t n = group.first; n < group.end; ++n) {
    if (uses_[n].chunks == uses_[n].row.chunks) continue;
    try {
      merge({n, n + 1});
      ++num_replaced;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorruption) throw;
    }
  }
  return num_replaced;
}

void BankWriter::merge(const SegmentGroup& group) {
  start_change();
  const auto first = uses_.begin() + static_cast<ptrdiff_t>(group.first);
  const auto end = uses_.begin() + static_cast<ptrdiff_t>(group.end);
  CatalogChange change;
  std::vector<SegmentRow> rows;
  for (auto use = first; use != end; ++use) rows.push_back(use->row);
  change.moved = catalog_->passages_between(
      first->first_passage_id, end == uses_.end() ? next_passage_id_ : end->first_passage_id);
  const int64_t id = next_segment_++;
  const auto temporary = folder_ / "tmp" / segment_file_name(id);
  const SegmentRow row = [&] {
    try {
      return merge_segments(files_, folder_, facts_, rows, change.moved, temporary, id);
    } catch (const Error&) {
      try {
        files_.remove(temporary);  // what it takes may be all the room that is left
      } catch (const Error&) {
        // Goes when the writer cleans up.
      }
      throw;
    }
  }();
  publish(temporary, row);
  std::vector<SegmentUse> after(uses_.begin(), first);
  after.push_back({.row = row,
                   .first_passage_id = first->first_passage_id,
                   .passages = row.passages,
                   .chunks = row.chunks});
  after.insert(after.end(), end, uses_.end());
  change.segment = row;
  apply(std::move(change), std::move(after));
  has_failed_ = false;
}

Compacted BankWriter::compact(bool purges) {
  int64_t num_replaced = 0;
  const int64_t bytes_before = file_bytes(uses_) + retired_.num_bytes();
  std::optional<Error> failure;
  try {
    num_replaced = merge_groups(purges ? CompactionGoal::kPurge : CompactionGoal::kCompact,
                                /*most_groups=*/INT64_MAX);
  } catch (const Error& error) {
    if (!purges || error.code() != ErrorCode::kCorruption) throw;
    failure = error;
  }
  retired_.remove_unneeded();
  if (purges) {
    try {
      purge_catalog();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kLocked) throw;
      if (!failure) failure = error;
    }
    // Names that were removed would come back with a loss of power.
    files_.sync_directory(folder_ / "segments");
    files_.sync_directory(folder_ / "tmp");
  }
  Compacted done{.segments = num_replaced,
                 .retained_files = retired_.count(),
                 .retained_bytes = retired_.num_bytes()};
  done.removed_bytes = std::max<int64_t>(0, bytes_before - file_bytes(uses_) - done.retained_bytes);
  if (purges && !failure && done.retained_files > 0) {
    failure = Error(ErrorCode::kLocked, folder_.string(), ": readers of old states hold ",
                    done.retained_files,
                    " files with deleted documents; all else has been purged, purge again once "
                    "they are closed");
  }
  if (failure) throw Error(*failure);
  return done;
}

void BankWriter::purge_catalog() {
  const auto temporary = folder_ / "tmp" / Catalog::kFile;
  files_.create(temporary);  // SQLite keeps the mode of a file that exists
  std::optional<Error> failure;
  try {
    catalog_->purge(temporary);
  } catch (const Error& error) {
    failure = error;
  }
  files_.remove(temporary);
  if (failure) throw Error(*failure);
}

}  // namespace msa::memory
