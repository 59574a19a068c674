#pragma once
// Words of a text in lower case, as search, answer metrics and evidence compare them.

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

/// Runs of letters, numbers and underscores of the text in lower case: what re.findall(r"\w+",
/// text.lower()) gives in Python. `text` is valid UTF-8.
std::vector<Word> words_of(std::string_view text);

/// Unicode's full mapping, as str.lower() in Python: the Turkish capital I with a dot becomes an i
/// and a combining dot, which is no letter; a capital sigma that ends a word becomes the final one.
/// `text` is valid UTF-8.
std::string lower_case(std::string_view text);

}  // namespace msa::corpus
