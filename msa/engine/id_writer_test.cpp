#include "msa/engine/id_writer.h"

#include <gtest/gtest.h>

#include <random>

namespace msa::engine {
namespace {

TEST(ParseIds, TakesNumbersInBracketsInOrderWithoutRepeats) {
  EXPECT_EQ(parse_ids("[12][7]<|object_ref_end|>"), (std::vector<int64_t>{12, 7}));
  EXPECT_EQ(parse_ids("[9][4][9]"), (std::vector<int64_t>{9, 4}));
  EXPECT_EQ(parse_ids(""), std::vector<int64_t>{});
}

TEST(ParseIds, LeavesOutWhatIsNoId) {
  EXPECT_EQ(parse_ids("[][x][-3][12 ][ 1][5"), std::vector<int64_t>{});
  EXPECT_EQ(parse_ids("[99999999999999999999999]"), std::vector<int64_t>{});
  EXPECT_EQ(parse_ids("[[7]]"), std::vector<int64_t>{7});
}

TEST(ParseIds, NeverFailsOnRandomText) {
  std::mt19937 random(5);
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (uint32_t n = random() % 40; n > 0; --n) text += "[]0123456789<|x "[random() % 16];
    for (const int64_t id : parse_ids(text)) {
      EXPECT_GE(id, 0);
      EXPECT_NE(text.find(']'), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace msa::engine
