#pragma once
// What of each segment is alive: what a writer knows of a bank without reading its rows again.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "msa/memory/catalog_rows.h"

namespace msa::memory {

/// A segment and its live passages. The passages of a segment stand side by side among all of a
/// bank: no other segment's id lies between two of its own.
struct SegmentUse {
  SegmentRow row;
  int64_t first_passage_id = 0;  // at most those of its passages, above all of segments before
  int64_t passages = 0;          // alive
  int64_t chunks = 0;            // of these
  int64_t since = 0;             // the first generation that may name it; 0: of old

  bool has_dead() const { return passages < row.passages; }
};

/// Counts what is alive of the segments of a catalog, passage by passage.
class SegmentUseCount {
 public:
  /// `segments` in any order; `what` names the catalog in messages.
  SegmentUseCount(std::vector<SegmentRow> segments, std::string what);

  /// By rising id. Throws Error(kCorruption) if the passage is in no segment, or between those of
  /// another one.
  void add(const Passage& passage);

  /// By rising passage id. Throws Error(kCorruption) if a segment holds fewer passages or chunks
  /// than are alive, or none is.
  std::vector<SegmentUse> finish();

 private:
  std::string what_;
  std::vector<SegmentRow> segments_;
  std::vector<bool> is_used_;
  std::vector<SegmentUse> uses_;
};

/// The use of the segment that a live passage is in; `uses` by rising passage id.
SegmentUse& use_of(std::span<SegmentUse> uses, const Passage& passage);

}  // namespace msa::memory
