#pragma once
// Words of a text in lower case, as search and evidence compare them.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace msa::corpus {

/// A word and the bytes [start, end) of the text that it came from.
struct Word {
  std::string text;  // lower case
  int64_t start = 0;
  int64_t end = 0;
};

/// Runs of letters, numbers and underscores. `text` is valid UTF-8.
std::vector<Word> words_of(std::string_view text);

std::string lower_case(std::string_view text);

}  // namespace msa::corpus
