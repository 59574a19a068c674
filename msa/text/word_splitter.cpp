#include "msa/text/word_splitter.h"

#include <array>
#include <cstdint>

#include "msa/text/unicode.h"

namespace msa::text {
namespace {

/// Classes of ASCII, without a look-up in the large table.
constexpr std::array<CharacterClass, 128> kAscii = [] {
  std::array<CharacterClass, 128> classes{};
  for (int c = 0; c < 128; ++c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) classes[c] = CharacterClass::kLetter;
    if (c >= '0' && c <= '9') classes[c] = CharacterClass::kNumber;
    if (c == ' ' || (c >= '\t' && c <= '\r')) classes[c] = CharacterClass::kSpace;
  }
  return classes;
}();

/// A character of the text, or the end (length 0).
struct Character {
  char32_t code_point = 0;
  size_t length = 0;
  CharacterClass kind = CharacterClass::kOther;

  bool is_end() const { return length == 0; }
  bool is(CharacterClass wanted) const { return length != 0 && kind == wanted; }
  bool is_line_end() const { return code_point == '\r' || code_point == '\n'; }
  bool is_symbol() const { return length != 0 && kind == CharacterClass::kOther; }
};

Character at(std::string_view text, size_t position) {
  if (position >= text.size()) return {};
  const auto byte = static_cast<unsigned char>(text[position]);
  if (byte < 0x80) return {byte, 1, kAscii[byte]};
  const Decoded c = decode_utf8(text, position);
  return {c.code_point, static_cast<size_t>(c.length), class_of(c.code_point)};
}

size_t skip(std::string_view text, size_t position, CharacterClass kind) {
  for (;;) {
    while (position < text.size() && static_cast<unsigned char>(text[position]) < 0x80) {
      if (kAscii[static_cast<unsigned char>(text[position])] != kind) return position;
      ++position;
    }
    const Character c = at(text, position);
    if (!c.is(kind)) return position;
    position += c.length;
  }
}

bool is_ascii_letter(std::string_view text, size_t position) {
  return position < text.size() && static_cast<unsigned char>(text[position]) < 0x80 &&
         kAscii[static_cast<unsigned char>(text[position])] == CharacterClass::kLetter;
}

/// Lower case as far as the contractions need it: the long s folds to s.
char32_t folded(char32_t c) {
  if (c >= 'A' && c <= 'Z') return c + ('a' - 'A');
  return c == 0x17F ? U's' : c;
}

/// The end of a contraction that begins with the apostrophe at `begin`, or `begin`.
size_t end_of_contraction(std::string_view text, size_t begin, bool ignores_case) {
  const Character first = at(text, begin + 1);
  const Character second = first.is_end() ? first : at(text, begin + 1 + first.length);
  const auto fold = [&](const Character& c) {
    return ignores_case ? folded(c.code_point) : c.code_point;
  };
  const char32_t a = first.is_end() ? 0 : fold(first);
  const char32_t b = second.is_end() ? 0 : fold(second);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return begin + 1 + first.length;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) {
    return begin + 1 + first.length + second.length;
  }
  return begin;
}

/// A run of blanks: all of it at the end of the text, else all but the last, else that one.
size_t end_of_blanks(std::string_view text, size_t begin) {
  size_t last = begin;
  size_t end = begin;
  for (Character c = at(text, end); c.is(CharacterClass::kSpace); c = at(text, end)) {
    last = end;
    end += c.length;
  }
  return end < text.size() && last > begin ? last : end;
}

size_t end_of_qwen2_piece(std::string_view text, size_t begin) {
  // Most pieces of most texts: a word, with the blank before it.
  if (is_ascii_letter(text, begin) || (text[begin] == ' ' && is_ascii_letter(text, begin + 1))) {
    return skip(text, begin + 1, CharacterClass::kLetter);
  }
  const Character first = at(text, begin);
  if (first.code_point == '\'') {
    const size_t end = end_of_contraction(text, begin, true);
    if (end != begin) return end;
  }
  if (first.is(CharacterClass::kLetter)) return skip(text, begin, CharacterClass::kLetter);
  if (first.is(CharacterClass::kNumber)) return begin + first.length;
  const size_t after = begin + first.length;
  if (!first.is_line_end() && at(text, after).is(CharacterClass::kLetter)) {
    return skip(text, after, CharacterClass::kLetter);
  }
  if (first.is_symbol() || (first.code_point == ' ' && at(text, after).is_symbol())) {
    size_t end = skip(text, after, CharacterClass::kOther);
    while (at(text, end).length != 0 && at(text, end).is_line_end()) ++end;
    return end;
  }
  // Blanks: up to the last line end among them, if there is one.
  size_t line_end = begin;
  size_t end = begin;
  for (Character c = first; c.is(CharacterClass::kSpace); c = at(text, end)) {
    end += c.length;
    if (c.is_line_end()) line_end = end;
  }
  return line_end > begin ? line_end : end_of_blanks(text, begin);
}

size_t end_of_gpt2_piece(std::string_view text, size_t begin) {
  const Character first = at(text, begin);
  if (first.code_point == '\'') {
    const size_t end = end_of_contraction(text, begin, false);
    if (end != begin) return end;
  }
  const bool is_blank = first.code_point == ' ';
  const Character start = is_blank ? at(text, begin + 1) : first;
  if (!start.is_end() && !start.is(CharacterClass::kSpace)) {
    return skip(text, is_blank ? begin + 1 : begin, start.kind);
  }
  return end_of_blanks(text, begin);
}

}  // namespace

std::string_view pattern_of(SplitRule rule) {
  return rule == SplitRule::kQwen2
             ? R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
             : R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
}

size_t end_of_piece(SplitRule rule, std::string_view text, size_t begin) {
  return rule == SplitRule::kQwen2 ? end_of_qwen2_piece(text, begin)
                                   : end_of_gpt2_piece(text, begin);
}

}  // namespace msa::text
