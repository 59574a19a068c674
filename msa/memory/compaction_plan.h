#pragma once
// Which segments of a bank are worth writing anew, and which of them as one.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "msa/memory/segment_use.h"

namespace msa::memory {

struct CompactionPolicy {
  int64_t max_segment_bytes = int64_t{256} << 20;  // of records in a merged segment
  int64_t max_segment_passages = 16'384;    // in it: the catalog's row of each is written anew
  int64_t spare_bytes = int64_t{64} << 20;  // may lie idle beyond three times what is alive before
                                            // a commit is refused
};

/// Keys and content of a segment's chunks.
inline int64_t live_bytes(const SegmentUse& use, int64_t chunk_bytes) {
  return use.chunks * chunk_bytes;
}
inline int64_t dead_bytes(const SegmentUse& use, int64_t chunk_bytes) {
  return (use.row.chunks - use.chunks) * chunk_bytes;
}

/// Neighbouring segments, from one place to before another, that become one.
struct SegmentGroup {
  size_t first = 0;
  size_t end = 0;

  bool operator==(const SegmentGroup&) const = default;
};

/// What a compaction is to reach.
enum class CompactionGoal {
  /// After a commit. Where more is dead than alive, segments of which over a fifth is dead are
  /// written anew: each dead byte is paid for once, with less than 4/3 of a byte written. Besides,
  /// eight neighbours of a size class become one of a higher class; a class is eight times as large
  /// as the one before, the first one 1 / 256 of the largest size, so that a byte is written up to
  /// four times in its life. Sizes are bytes or passages, whichever is the higher class.
  kUpkeep,
  /// No segment of which over a fifth is dead, and none of less than half of the largest size
  /// whose neighbour would fit in.
  kCompact,
  /// The same, and no dead record at all.
  kPurge,
};

/// In order. No group is larger than a merged segment may be, those of a single segment apart.
/// `uses` by rising passage id.
std::vector<SegmentGroup> plan_compaction(std::span<const SegmentUse> uses, int64_t chunk_bytes,
                                          const CompactionPolicy& policy, CompactionGoal goal);

}  // namespace msa::memory
