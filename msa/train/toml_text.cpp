#include "msa/train/toml_text.h"

#include <algorithm>

namespace msa::train {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_beyond_ascii(char c) { return static_cast<unsigned char>(c) > 127; }

/// Whether a quote there opens a string for every reader. Behind a number, say, the parser goes on
/// with the number.
bool may_open_string(std::string_view text, size_t place) {
  return place == 0 || std::string_view(" \t\r\n=[{,").find(text[place - 1]) != text.npos ||
         text.substr(0, place) == kByteOrderMark;
}

std::optional<size_t> find_letter(std::string_view text, size_t from) {
  const auto* const found = std::find_if(text.begin() + from, text.end(), is_beyond_ascii);
  return found == text.end() ? std::nullopt : std::optional<size_t>(found - text.begin());
}

/// The end of the string whose opening quote stands at `place`; of one that is not closed the end
/// of its line, or of the text. A letter above 127 behind a backslash that ends a line, or should,
/// ends it too: there the parser looks for blanks.
size_t end_of_string(std::string_view text, size_t place) {
  const char quote = text[place];
  const std::string_view three = text.substr(place, 3);
  const bool has_lines = three.size() == 3 && three[1] == quote && three[2] == quote;
  place += has_lines ? 3 : 1;
  while (place < text.size()) {
    if (quote == '"' && text[place] == '\\') {
      const size_t next = std::min(text.find_first_not_of(" \t\r\n", place + 1), text.size());
      if (has_lines && next < text.size() && is_beyond_ascii(text[next])) return next;
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
    if (is_beyond_ascii(c)) return place;
    if (c == '"' || c == '\'') {
      if (!may_open_string(text, place)) return find_letter(text, place);
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
