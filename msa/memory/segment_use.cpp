#include "msa/memory/segment_use.h"

#include <algorithm>
#include <utility>

#include "msa/base/error.h"

namespace msa::memory {

SegmentUseCount::SegmentUseCount(std::vector<SegmentRow> segments, std::string what)
    : what_(std::move(what)), segments_(std::move(segments)), is_used_(segments_.size()) {
  std::ranges::sort(segments_, {}, &SegmentRow::id);
}

void SegmentUseCount::add(const Passage& passage) {
  if (uses_.empty() || uses_.back().row.id != passage.segment) {
    const auto row = std::ranges::lower_bound(segments_, passage.segment, {}, &SegmentRow::id);
    if (row == segments_.end() || row->id != passage.segment) {
      throw Error(ErrorCode::kCorruption, what_, ": passage ", passage.id, " has no segment");
    }
    const auto place = static_cast<size_t>(row - segments_.begin());
    if (is_used_[place]) {
      throw Error(ErrorCode::kCorruption, what_, ": passage ", passage.id, " of segment ",
                  passage.segment, " stands between those of another one");
    }
    is_used_[place] = true;
    uses_.push_back({.row = *row, .first_passage_id = passage.id});
  }
  ++uses_.back().passages;
  uses_.back().chunks += passage.chunks;
}

std::vector<SegmentUse> SegmentUseCount::finish() {
  if (uses_.size() != segments_.size()) {
    throw Error(ErrorCode::kCorruption, what_, ": ", segments_.size() - uses_.size(),
                " segments have no passage");
  }
  for (const SegmentUse& use : uses_) {
    if (use.passages > use.row.passages || use.chunks > use.row.chunks) {
      throw Error(ErrorCode::kCorruption, what_, ": segment ", use.row.id, " holds ",
                  use.row.passages, " passages and ", use.row.chunks, " chunks, its passages are ",
                  use.passages, " of ", use.chunks);
    }
  }
  return std::move(uses_);
}

SegmentUse& use_of(std::span<SegmentUse> uses, const Passage& passage) {
  const auto after = std::ranges::upper_bound(uses, passage.id, {}, &SegmentUse::first_passage_id);
  if (after == uses.begin() || (after - 1)->row.id != passage.segment) {
    throw Error(ErrorCode::kCorruption, "passage ", passage.id, " is not in segment ",
                passage.segment, " as the catalog says");
  }
  return *(after - 1);
}

}  // namespace msa::memory
