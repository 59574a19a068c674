#include "msa/corpus/passage_text.h"

#include <gtest/gtest.h>

namespace msa::corpus {
namespace {

TEST(PassageText, PutsTheTitleBeforeThePassage) {
  EXPECT_EQ(passage_text("Moon", "It is round."), "Moon\nIt is round.");
  EXPECT_EQ(passage_text("", "It is far."), "It is far.");
}

TEST(PassageText, LeavesTheTitleOutWhereThePassageBeginsWithIt) {
  EXPECT_EQ(passage_text("Moon", "# Moon\nIt is far."), "# Moon\nIt is far.");
}

TEST(PassageText, CutsALongTitleBetweenCharacters) {
  std::string title(kMaxTitleBytes - 1, 'x');
  title += "\xc3\xa9 and more";
  EXPECT_EQ(passage_text(title, "text"), std::string(kMaxTitleBytes - 1, 'x') + "\ntext");
  EXPECT_EQ(passage_text(std::string(kMaxTitleBytes, 'x'), "text"),
            std::string(kMaxTitleBytes, 'x') + "\ntext");
}

}  // namespace
}  // namespace msa::corpus
