#include "msa/memory/compaction_plan.h"

#include <algorithm>
#include <functional>

namespace msa::memory {
namespace {

constexpr size_t kTogether = 8;   // segments of a class that become one, and steps between classes
constexpr int kHighestClass = 3;  // from a quarter of the largest size on

class Planner {
 public:
  Planner(std::span<const SegmentUse> uses, int64_t chunk_bytes, const CompactionPolicy& policy)
      : uses_(uses), chunk_bytes_(chunk_bytes), policy_(policy) {}

  int64_t live(size_t n) const { return live_bytes(uses_[n], chunk_bytes_); }
  bool is_full(size_t n) const {
    return live(n) >= policy_.max_segment_bytes / 2 ||
           uses_[n].passages >= policy_.max_segment_passages / 2;
  }

  bool is_wasteful(size_t n) const {
    const int64_t dead = dead_bytes(uses_[n], chunk_bytes_);
    return dead > (live(n) + dead) / 5;
  }

  bool is_mostly_dead() const {
    int64_t alive = 0;
    int64_t dead = 0;
    for (size_t n = 0; n < uses_.size(); ++n) {
      alive += live(n);
      dead += dead_bytes(uses_[n], chunk_bytes_);
    }
    return dead > alive;
  }

  /// Neighbours that are wanted, as many together as may be; of single ones those that must be.
  std::vector<SegmentGroup> pack(const std::function<bool(size_t)>& is_wanted,
                                 const std::function<bool(size_t)>& must_be) const {
    std::vector<SegmentGroup> groups;
    for (size_t n = 0; n < uses_.size();) {
      if (!is_wanted(n)) {
        ++n;
        continue;
      }
      SegmentGroup group{.first = n, .end = n + 1};
      int64_t bytes = live(n);
      int64_t passages = uses_[n].passages;
      for (; group.end < uses_.size() && is_wanted(group.end); ++group.end) {
        bytes += live(group.end);
        passages += uses_[group.end].passages;
        if (bytes > policy_.max_segment_bytes || passages > policy_.max_segment_passages) break;
      }
      if (group.end - group.first > 1 || must_be(n)) groups.push_back(group);
      n = group.end;
    }
    return groups;
  }

  /// Stretches of segments up to a class that hold at least kTogether of it; of the lowest class
  /// of which there are such.
  std::vector<SegmentGroup> merge_alike() const {
    for (int size_class = 0; size_class <= kHighestClass; ++size_class) {
      const auto is_wanted = [&](size_t n) { return !is_full(n) && class_of(n) <= size_class; };
      auto groups = pack(is_wanted, [](size_t) { return false; });
      std::erase_if(groups, [&](const SegmentGroup& group) {
        size_t alike = 0;
        for (size_t n = group.first; n < group.end; ++n) alike += class_of(n) == size_class;
        return alike < kTogether;
      });
      if (!groups.empty()) return groups;
    }
    return {};
  }

 private:
  int class_of(size_t n) const {
    return std::max(class_of(live(n), policy_.max_segment_bytes),
                    class_of(uses_[n].passages, policy_.max_segment_passages));
  }

  static int class_of(int64_t size, int64_t largest) {
    int size_class = 0;
    for (int64_t end = std::max<int64_t>(largest / 256, 1);
         size >= end && size_class < kHighestClass; end *= kTogether) {
      ++size_class;
    }
    return size_class;
  }

  std::span<const SegmentUse> uses_;
  int64_t chunk_bytes_;
  const CompactionPolicy& policy_;
};

}  // namespace

std::vector<SegmentGroup> plan_compaction(std::span<const SegmentUse> uses, int64_t chunk_bytes,
                                          const CompactionPolicy& policy, CompactionGoal goal) {
  const Planner planner(uses, chunk_bytes, policy);
  const auto is_wasteful = [&](size_t n) { return planner.is_wasteful(n); };
  if (goal == CompactionGoal::kUpkeep) {
    return planner.is_mostly_dead() ? planner.pack(is_wasteful, is_wasteful)
                                    : planner.merge_alike();
  }
  const bool is_purge = goal == CompactionGoal::kPurge;
  const auto must_be = [&](size_t n) {
    return is_purge ? uses[n].has_dead() : planner.is_wasteful(n);
  };
  return planner.pack([&](size_t n) { return must_be(n) || !planner.is_full(n); }, must_be);
}

}  // namespace msa::memory
