#include "msa/train/toml_text.h"

#include <algorithm>

namespace msa::train {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

/// The end of the string whose opening quote stands at `place`; of one that is not closed the end
/// of its line, or of the text.
size_t end_of_string(std::string_view text, size_t place) {
  const char quote = text[place];
  const std::string_view three = text.substr(place, 3);
  const bool has_lines = three.size() == 3 && three[1] == quote && three[2] == quote;
  place += has_lines ? 3 : 1;
  while (place < text.size()) {
    if (quote == '"' && text[place] == '\\') {
      place += 2;
    } else if (!has_lines && text[place] == '\n') {
      break;
    } else if (text[place] != quote) {
      ++place;
    } else if (!has_lines) {
      return place + 1;
    } else {
      // Two more quotes than the closing ones belong to the string.
      const size_t behind = std::min(text.find_first_not_of(quote, place), text.size());
      const size_t count = behind - place;
      if (count >= 3) return place + std::min<size_t>(count, 5);
      place = behind;
    }
  }
  return std::min(place, text.size());
}

}  // namespace

std::optional<size_t> find_letter_outside_strings(std::string_view text) {
  size_t place = text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  while (place < text.size()) {
    const char c = text[place];
    if (static_cast<unsigned char>(c) > 127) return place;
    if (c == '"' || c == '\'') {
      place = end_of_string(text, place);
    } else if (c == '#') {
      place = std::min(text.find('\n', place), text.size());
    } else {
      ++place;
    }
  }
  return std::nullopt;
}

}  // namespace msa::train
