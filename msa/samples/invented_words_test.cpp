#include "msa/samples/invented_words.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace msa::samples {
namespace {

// Another word for a number changes what a run with the same config and seed learns.
TEST(InventedWords, ASeedGivesTheSameWordsWithEveryCompiler) {
  Random random(7, {1});
  for (const std::string word :
       {"grimmyrksuntwee", "wire", "stuxidsmoold", "muxu", "tego", "bloutablidnisk"}) {
    EXPECT_EQ(invented_word(random), word);
  }
  for (const std::array<std::string, 2>& names : {
           std::array<std::string, 2>{"Yovele Zound", "Yovele Zozi"},
           {"WEXSENME KYPO", "WEXSWU KYPO"},
           {"Griglaustobrold van Dewoham", "Curcex van Dewoham"},
           {"Nifcloclelbam Gallawuryux Tentseag", "Vezatvu Gallawuryux Tentseag"},
       }) {
    EXPECT_EQ(invented_name(random), names[0]);
    EXPECT_EQ(alike_name(names[0], random), names[1]);
  }
  const std::array<std::array<std::string, 2>, kNumValueKinds> values{{
      {"85", "4692148"},
      {"g7u3", "F1"},
      {"Pyroku", "kuvotse"},
      {"Ninjiyenmym Nuxleantaaspaath", "Khihi Vano"},
      {"15 July 1625", "25 April 1267"},
      {"1500", "1317"},
      {"12:04", "3:21"},
      {"7 paces", "71 feet"},
      {"Smichu", "Accra"},
      {"turquoise", "green"},
      {"lizard", "crane"},
      {"cabbage", "bread"},
      {"gong", "cornet"},
      {"glazier", "roofer"},
      {"pewter", "pine"},
      {"Sunday", "Saturday"},
      {"December", "March"},
      {"oak before herring", "tin before cabbage"},
  }};
  for (size_t kind = 0; kind < values.size(); ++kind) {
    for (const std::string& value : values[kind]) {
      EXPECT_EQ(invented_value(static_cast<ValueKind>(kind), random), value);
    }
  }
}

}  // namespace
}  // namespace msa::samples
