#include "msa/memory/segment_use.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "msa/base/error.h"

namespace msa::memory {
namespace {

SegmentRow row_of(int64_t id, int64_t passages, int64_t chunks) {
  return {.id = id, .file = segment_file_name(id), .passages = passages, .chunks = chunks};
}

void expect_refused(const std::string& text, const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "not refused: " << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruption);
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find("here: "), 0U) << error.what();
  }
}

TEST(SegmentUse, CountsWhatIsAliveByRisingPassages) {
  SegmentUseCount count({row_of(2, 1, 3), row_of(1, 3, 9)}, "here");
  count.add({.id = 4, .chunks = 2, .segment = 1});
  count.add({.id = 7, .chunks = 3, .segment = 1});
  count.add({.id = 8, .chunks = 3, .segment = 2});
  const auto uses = count.finish();
  ASSERT_EQ(uses.size(), 2U);
  EXPECT_EQ(uses[0].row.id, 1);
  EXPECT_EQ(uses[0].first_passage_id, 4);
  EXPECT_EQ(uses[0].passages, 2);
  EXPECT_EQ(uses[0].chunks, 5);
  EXPECT_TRUE(uses[0].has_dead());
  EXPECT_FALSE(uses[1].has_dead());
}

TEST(SegmentUse, WhatContradictsTheSegmentsIsRefused) {
  expect_refused("1 segments have no passage", [] {
    SegmentUseCount count({row_of(1, 1, 1), row_of(2, 1, 1)}, "here");
    count.add({.id = 1, .chunks = 1, .segment = 1});
    count.finish();
  });
  expect_refused("segment 1 holds 1 passages and 5 chunks, its passages are 2 of 2", [] {
    SegmentUseCount count({row_of(1, 1, 5)}, "here");
    count.add({.id = 1, .chunks = 1, .segment = 1});
    count.add({.id = 2, .chunks = 1, .segment = 1});
    count.finish();
  });
  expect_refused("segment 1 holds 2 passages and 5 chunks, its passages are 1 of 6", [] {
    SegmentUseCount count({row_of(1, 2, 5)}, "here");
    count.add({.id = 1, .chunks = 6, .segment = 1});
    count.finish();
  });
}

}  // namespace
}  // namespace msa::memory
