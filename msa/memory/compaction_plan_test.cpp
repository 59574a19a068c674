#include "msa/memory/compaction_plan.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace msa::memory {
namespace {

/// Segments of so many stored and live chunks, one passage each.
std::vector<SegmentUse> segments(std::initializer_list<std::pair<int64_t, int64_t>> chunks) {
  std::vector<SegmentUse> uses;
  for (const auto& [stored, live] : chunks) {
    const auto id = static_cast<int64_t>(uses.size()) + 1;
    uses.push_back({.row = {.id = id, .file = {}, .passages = 2, .chunks = stored},
                    .first_passage_id = id * 10,
                    .passages = live == stored ? 2 : 1,
                    .chunks = live});
  }
  return uses;
}

using Groups = std::vector<SegmentGroup>;
constexpr CompactionPolicy kPolicy{.max_segment_bytes = 1000};

Groups plan(const std::vector<SegmentUse>& uses, CompactionGoal goal) {
  return plan_compaction(uses, 1, kPolicy, goal);
}

TEST(CompactionPlan, LeavesFullSegmentsWithLittleDeadAlone) {
  const auto uses = segments({{900, 900}, {900, 720}, {600, 600}});
  EXPECT_EQ(plan(uses, CompactionGoal::kCompact), Groups{});
  EXPECT_EQ(plan(uses, CompactionGoal::kPurge), (Groups{{1, 2}}));
}

TEST(CompactionPlan, WritesASegmentAnewOfWhichOverAFifthIsDead) {
  EXPECT_EQ(plan(segments({{900, 719}}), CompactionGoal::kCompact), (Groups{{0, 1}}));
  EXPECT_EQ(plan(segments({{5000, 2000}}), CompactionGoal::kCompact), (Groups{{0, 1}}));
}

TEST(CompactionPlan, MergesSmallNeighboursUpToTheLargestSize) {
  EXPECT_EQ(plan(segments({{400, 400}, {400, 400}, {400, 400}, {100, 100}, {900, 900}, {1, 1}}),
                 CompactionGoal::kCompact),
            (Groups{{0, 2}, {2, 4}}));
}

TEST(CompactionPlan, MergesNoMorePassagesThanTheLargestNumber) {
  std::vector<SegmentUse> uses;
  for (int64_t n = 1; n <= 40; ++n) {
    uses.push_back({.row = {.id = n, .file = {}, .passages = 300, .chunks = 300},
                    .first_passage_id = 300 * n,
                    .passages = 300,
                    .chunks = 300});
  }
  const CompactionPolicy policy{.max_segment_bytes = int64_t{1} << 30,
                                .max_segment_passages = 3'000};
  const Groups wanted{{0, 10}, {10, 20}, {20, 30}, {30, 40}};
  EXPECT_EQ(plan_compaction(uses, 1, policy, CompactionGoal::kCompact), wanted);
  EXPECT_EQ(plan_compaction(uses, 1, policy, CompactionGoal::kUpkeep), wanted);
  uses.resize(7);  // too few of a class, however few bytes they have
  EXPECT_EQ(plan_compaction(uses, 1, policy, CompactionGoal::kUpkeep), Groups{});
}

TEST(CompactionPlan, IsDoneAfterOneCompaction) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    std::vector<SegmentUse> uses;
    for (int n = 0; n < 30; ++n) {
      const int64_t stored = 1 + random() % 900;
      const int64_t live = 1 + random() % stored;
      uses.push_back(segments({{stored, live}})[0]);
    }
    for (const auto goal : {CompactionGoal::kCompact, CompactionGoal::kPurge}) {
      std::vector<SegmentUse> after;
      size_t place = 0;
      for (const SegmentGroup& group : plan(uses, goal)) {
        for (; place < group.first; ++place) after.push_back(uses[place]);
        int64_t chunks = 0;
        for (; place < group.end; ++place) chunks += uses[place].chunks;
        EXPECT_LE(chunks, 1000);
        after.push_back(segments({{chunks, chunks}})[0]);
      }
      for (; place < uses.size(); ++place) after.push_back(uses[place]);
      EXPECT_EQ(plan(after, goal), Groups{}) << "seed " << seed;
      for (const SegmentUse& use : after) {
        EXPECT_LE(dead_bytes(use, 1) * (goal == CompactionGoal::kPurge ? 1000 : 4), use.chunks);
      }
    }
  }
}

TEST(CompactionPlan, UpkeepWritesWhatIsMostlyDeadAnewOnceMoreIsDeadThanAlive) {
  EXPECT_EQ(plan(segments({{900, 900}, {900, 100}, {800, 700}}), CompactionGoal::kUpkeep),
            Groups{});
  EXPECT_EQ(plan(segments({{900, 750}, {900, 10}, {800, 100}, {900, 1}}), CompactionGoal::kUpkeep),
            (Groups{{1, 4}}));
}

TEST(CompactionPlan, UpkeepMergesEightOfAClassAndNoFewer) {
  // The first class is below 1000 / 256 bytes, the second below eight times that.
  EXPECT_EQ(plan(segments({{2, 2}, {2, 2}, {2, 2}, {2, 2}, {2, 2}, {2, 2}, {2, 2}}),
                 CompactionGoal::kUpkeep),
            Groups{});
  EXPECT_EQ(
      plan(segments({{30, 30}, {2, 2}, {2, 2}, {2, 2}, {2, 2}, {2, 2}, {2, 2}, {2, 2}, {1, 1}}),
           CompactionGoal::kUpkeep),
      (Groups{{1, 9}}));
  EXPECT_EQ(
      plan(segments({{2, 2}, {2, 2}, {2, 2}, {2, 2}, {30, 30}, {2, 2}, {2, 2}, {2, 2}, {1, 1}}),
           CompactionGoal::kUpkeep),
      Groups{})
      << "a large one between them";
}

TEST(CompactionPlan, UpkeepOfABankThatGrowsByOneDocumentAtATimeKeepsSegmentsFewAndWritesLittle) {
  std::vector<SegmentUse> uses;
  int64_t written = 0;
  size_t most = 0;
  constexpr int64_t kChunks = 20'000;
  for (int64_t n = 0; n < kChunks; ++n) {
    uses.push_back(segments({{1, 1}})[0]);
    for (const SegmentGroup& group : plan(uses, CompactionGoal::kUpkeep)) {
      int64_t chunks = 0;
      for (size_t i = group.first; i < group.end; ++i) chunks += uses[i].chunks;
      written += chunks;
      const auto first = uses.begin() + static_cast<ptrdiff_t>(group.first);
      uses.erase(first, uses.begin() + static_cast<ptrdiff_t>(group.end));
      uses.insert(uses.begin() + static_cast<ptrdiff_t>(group.first),
                  segments({{chunks, chunks}})[0]);
    }
    most = std::max(most, uses.size());
  }
  EXPECT_LE(written, 4 * kChunks);
  EXPECT_LE(most, kChunks / 500 + 4 * 8);
}

}  // namespace
}  // namespace msa::memory
