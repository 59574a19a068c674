#include "msa/train/toml_text.h"

#include <gtest/gtest.h>

#include <string>

namespace msa::train {
namespace {

TEST(TomlText, LettersInStringsAndCommentsMayStand) {
  for (const std::string text :
       {"", "a = 1\n", "a = \"\xC3\xA9\"\n# \xC3\xA9\n", "a = '\xC3\xA9' # \xC3\xA9",
        "a = \"\"\"\n\xC3\xA9 \"\" \xC3\xA9\n\"\"\"\n", "a = '''\xC3\xA9 '' \n\xC3\xA9'''\n",
        "\"\xC3\xA9\" = 1\n", "a = \"\\\" \xC3\xA9\"\n", "a = '\\' # \xC3\xA9\n",
        "\xEF\xBB\xBF"
        "a = 1\n",
        "a = \"\"\"\xC3\xA9\"\"\"\"\"\nb = 2\n"}) {
    EXPECT_EQ(find_letter_outside_strings(text), std::nullopt) << text;
  }
}

TEST(TomlText, TheFirstLetterOutsideIsFound) {
  const std::string letter = "\xC3\xA9";
  for (const std::string before : {"",
                                   "a = ",
                                   "a",
                                   "[ru",
                                   "a = \"b\" ",
                                   "a = 'b' ",
                                   "# c\n",
                                   "a = \"\"\"b\"\"\" ",
                                   "a = \"\"\"b\"\"\"\"\" ",
                                   "a = '''b''''' ",
                                   "a = \"\\\\\" ",
                                   "a = \"not closed\n",
                                   "a = 'not closed\n",
                                   "a = \"\"\"x\\",
                                   "a = \"\"\"x\\\n ",
                                   "a = \"\"\"\\  ",
                                   "a = \"\" ",
                                   "a = 9\"",
                                   "a = [1,\n9.\"b\" # ",
                                   "a.\"b#\" = ",
                                   "a = \"b\"\"",
                                   "a = '' ",
                                   "\xEF\xBB\xBF",
                                   "a = '\\' "}) {
    EXPECT_EQ(find_letter_outside_strings(before + letter + " = \"\xC3\xA9\"\n"), before.size())
        << before;
  }
}

TEST(TomlText, AMarkOpensTheTextAndABackslashALineOfAString) {
  EXPECT_EQ(find_letter_outside_strings("\xEF\xBB\xBF\"\xC3\xA9\" = 1"), std::nullopt);
  EXPECT_EQ(find_letter_outside_strings("a = \"\"\"\\\n  b\xC3\xA9\"\"\""), std::nullopt);
  EXPECT_EQ(find_letter_outside_strings("a = \"\"\"\\ "), std::nullopt);
}

}  // namespace
}  // namespace msa::train
