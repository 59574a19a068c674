#include "msa/engine/passage_text.h"

#include <gtest/gtest.h>

namespace msa::engine {
namespace {

memory::Document document(const std::string& title, const std::string& text) {
  memory::Document result;
  result.title = title;
  result.text = text;
  return result;
}

TEST(PassageText, PutsTheTitleBeforeTheBytesOfThePassage) {
  EXPECT_EQ(passage_text(document("Moon", "It is far. It is round."), 11, 23),
            "Moon\nIt is round.");
  EXPECT_EQ(passage_text(document("", "It is far."), 0, 10), "It is far.");
}

TEST(PassageText, LeavesTheTitleOutWhereThePassageBeginsWithIt) {
  EXPECT_EQ(passage_text(document("Moon", "# Moon\nIt is far."), 0, 17), "# Moon\nIt is far.");
}

TEST(PassageText, CutsALongTitleBetweenCharacters) {
  std::string title(kMaxTitleBytes - 1, 'x');
  title += "\xc3\xa9 and more";
  EXPECT_EQ(passage_text(document(title, "text"), 0, 4),
            std::string(kMaxTitleBytes - 1, 'x') + "\ntext");
  EXPECT_EQ(passage_text(document(std::string(kMaxTitleBytes, 'x'), "text"), 0, 4),
            std::string(kMaxTitleBytes, 'x') + "\ntext");
}

}  // namespace
}  // namespace msa::engine
