#include "msa/corpus/words.h"

#include <utf8proc.h>

#include "msa/text/unicode.h"

namespace msa::corpus {
namespace {

char32_t lower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

bool is_word_character(char32_t c) {
  if (c == '_') return true;
  const auto kind = text::class_of(c);
  return kind == text::CharacterClass::kLetter || kind == text::CharacterClass::kNumber;
}

}  // namespace

std::vector<Word> words_of(std::string_view text) {
  std::vector<Word> words;
  bool is_inside = false;
  for (size_t i = 0; i < text.size();) {
    const text::Decoded c = text::decode_utf8(text, i);
    const size_t end = i + static_cast<size_t>(c.length);
    if (is_word_character(c.code_point)) {
      if (!is_inside) words.push_back({{}, static_cast<int64_t>(i), 0});
      text::append_utf8(lower(c.code_point), words.back().text);
      words.back().end = static_cast<int64_t>(end);
      is_inside = true;
    } else {
      is_inside = false;
    }
    i = end;
  }
  return words;
}

std::string lower_case(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const text::Decoded c = text::decode_utf8(text, i);
    text::append_utf8(lower(c.code_point), result);
    i += static_cast<size_t>(c.length);
  }
  return result;
}

}  // namespace msa::corpus
