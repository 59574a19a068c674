#include "msa/corpus/words.h"

#include <utf8proc.h>

#include <algorithm>

#include "msa/text/unicode.h"

namespace msa::corpus {
namespace {

constexpr char32_t kCapitalSigma = 0x3A3;
constexpr char32_t kFinalSigma = 0x3C2;
constexpr char32_t kCapitalDottedI = 0x130;
constexpr char32_t kCombiningDot = 0x307;

utf8proc_category_t category_of(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_cased(char32_t c) {
  const auto category = category_of(c);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT || c == 0xAA || c == 0xBA;  // ordinal indicators
}

/// Marks, modifiers and what stands within words: they do not end a word for the final sigma.
bool is_case_ignorable(char32_t c) {
  constexpr char32_t kWithinWords[] = {'\'',   '.',    ':',    0xB7,   0x387,  0x55F,
                                       0x5F4,  0x2018, 0x2019, 0x2024, 0x2027, 0xFE13,
                                       0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};
  switch (category_of(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return std::find(std::begin(kWithinWords), std::end(kWithinWords), c) !=
             std::end(kWithinWords);
  }
}

/// The character that ends before byte `place` > 0.
text::Decoded decode_before(std::string_view text, size_t place) {
  size_t first = place - 1;
  while ((static_cast<unsigned char>(text[first]) & 0xC0) == 0x80) --first;
  return text::decode_utf8(text, first);
}

/// Unicode's condition Final_Sigma for the character at bytes [start, end).
bool ends_word(std::string_view text, size_t start, size_t end) {
  text::Decoded before;
  do {
    if (start == 0) return false;
    before = decode_before(text, start);
    start -= static_cast<size_t>(before.length);
  } while (is_case_ignorable(before.code_point));
  if (!is_cased(before.code_point)) return false;
  while (end < text.size()) {
    const text::Decoded after = text::decode_utf8(text, end);
    if (!is_case_ignorable(after.code_point)) return !is_cased(after.code_point);
    end += static_cast<size_t>(after.length);
  }
  return true;
}

/// The lower case of the character at byte `place`; of kCapitalDottedI the part that is a letter.
char32_t lower_letter(std::string_view text, size_t place, const text::Decoded& c) {
  if (c.code_point < 0x80) {
    return c.code_point >= 'A' && c.code_point <= 'Z' ? c.code_point + ('a' - 'A') : c.code_point;
  }
  if (c.code_point == kCapitalDottedI) return 'i';
  if (c.code_point == kCapitalSigma &&
      ends_word(text, place, place + static_cast<size_t>(c.length))) {
    return kFinalSigma;
  }
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.code_point)));
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
      text::append_utf8(lower_letter(text, i, c), words.back().text);
      words.back().end = static_cast<int64_t>(end);
      is_inside = c.code_point != kCapitalDottedI;  // its dot ends the word
    } else {
      is_inside = false;
    }
    i = end;
  }
  return words;
}

std::string lower_case(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const text::Decoded c = text::decode_utf8(text, i);
    text::append_utf8(lower_letter(text, i, c), result);
    if (c.code_point == kCapitalDottedI) text::append_utf8(kCombiningDot, result);
    i += static_cast<size_t>(c.length);
  }
  return result;
}

}  // namespace msa::corpus
