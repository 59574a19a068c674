#include "msa/corpus/sentence_end.h"

#include <algorithm>
#include <array>

namespace msa::corpus {
namespace {

using std::string_view;

constexpr std::array<string_view, 12> kClosers = {
    "\"",
    "'",
    ")",
    "]",
    "\xE2\x80\x99",
    "\xE2\x80\x9D",  // right single and double quotation mark
    "\xC2\xBB",      // right guillemet
    "\xE3\x80\x8D",
    "\xE3\x80\x8F",  // right corner brackets
    "\xE3\x80\x8B",
    "\xEF\xBC\x89",
    "\xE3\x80\x91"  // right double angle, full-width, lenticular
};
constexpr std::array<string_view, 3> kFullWidthMarks = {"\xE3\x80\x82", "\xEF\xBC\x81",
                                                        "\xEF\xBC\x9F"};
constexpr std::array<string_view, 7> kTitles = {"Mr", "Mrs", "Ms", "Dr", "Prof", "St", "vs"};
constexpr int kMaxClosers = 4;
constexpr int64_t kMaxBlanks = 64;

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_letter_or_more(char c) {
  return is_upper(c) || is_lower(c) || (c >= '0' && c <= '9') ||
         static_cast<unsigned char>(c) > 127;
}

template <size_t N>
bool ends_with_any(string_view text, const std::array<string_view, N>& ends) {
  return std::any_of(ends.begin(), ends.end(), [&](string_view e) { return text.ends_with(e); });
}

bool starts_with_closer(string_view text) {
  return std::any_of(kClosers.begin(), kClosers.end(),
                     [&](string_view closer) { return text.starts_with(closer); });
}

/// Whether the text before a full stop ends in one capital letter, or in a title.
bool ends_with_abbreviation(string_view before) {
  size_t first = before.size();
  while (first > 0 && before.size() - first < 5 && is_letter_or_more(before[first - 1])) --first;
  const string_view word = before.substr(first);
  return (word.size() == 1 && is_upper(word[0])) ||
         std::find(kTitles.begin(), kTitles.end(), word) != kTitles.end();
}

bool goes_on_in_lower_case(string_view after) {
  const auto last = std::min<size_t>(after.size(), kMaxBlanks);
  for (size_t i = 0; i < last; ++i) {
    if (!is_blank(after[i])) return is_lower(after[i]);
  }
  return false;
}

}  // namespace

bool ends_sentence(string_view text, int64_t place) {
  string_view before = text.substr(0, static_cast<size_t>(place));
  const string_view after = text.substr(static_cast<size_t>(place));
  const bool is_before_blank = after.empty() || is_blank(after[0]);
  for (int i = 0; i < kMaxClosers; ++i) {
    const auto closer = std::find_if(kClosers.begin(), kClosers.end(),
                                     [&](string_view c) { return before.ends_with(c); });
    if (closer == kClosers.end()) break;
    before.remove_suffix(closer->size());
  }
  if (ends_with_any(before, kFullWidthMarks)) return !starts_with_closer(after);
  if (before.empty() || !is_before_blank) return false;
  const char mark = before.back();
  if (mark == '!' || mark == '?') return true;
  if (mark != '.') return false;
  before.remove_suffix(1);
  return !ends_with_abbreviation(before) && !goes_on_in_lower_case(after);
}

}  // namespace msa::corpus
