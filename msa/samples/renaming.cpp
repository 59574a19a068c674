#include "msa/samples/renaming.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "msa/samples/phrases.h"

namespace msa::samples {
namespace {

constexpr int64_t kYearsApart = 60;
constexpr std::array<std::string_view, 6> kAskingWords{"who",  "where", "when",
                                                       "what", "which", "how"};

bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

/// Letters beyond ASCII are what is no mark there.
bool is_word_byte(std::string_view text, size_t place) {
  const auto value = static_cast<unsigned char>(text[place]);
  if (value < 0x80) return is_digit(text[place]) || (value | 0x20U) - 'a' < 26U;
  size_t begin = place;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0U) == 0x80) --begin;
  return !is_wide_mark(text.substr(begin));
}

/// "1" in "1,200" and "3.5" is no number of its own.
bool joins_digits(std::string_view text, size_t mark) {
  return mark > 0 && mark + 1 < text.size() && (text[mark] == ',' || text[mark] == '.') &&
         is_digit(text[mark - 1]) && is_digit(text[mark + 1]);
}

bool is_inside_word(std::string_view text, size_t place) {
  return is_word_byte(text, place) || joins_digits(text, place);
}

/// Where `words` stand in `text` from `place` on; npos if nowhere.
size_t find_words(std::string_view text, std::string_view words, size_t place) {
  while ((place = text.find(words, place)) != std::string_view::npos) {
    const size_t end = place + words.size();
    const bool is_free = (place == 0 || !is_inside_word(text, place - 1)) &&
                         (end == text.size() || !is_inside_word(text, end));
    if (is_free) return place;
    ++place;
  }
  return place;
}

std::string renamed_once(std::string_view text, const Renaming& renaming) {
  if (renaming.from.empty()) return std::string(text);
  std::string out;
  size_t begin = 0;
  for (size_t place = 0;
       (place = find_words(text, renaming.from, begin)) != std::string_view::npos;) {
    out += text.substr(begin, place - begin);
    out += renaming.to;
    begin = place + renaming.from.size();
  }
  return out += text.substr(begin);
}

}  // namespace

AnswerKind kind_of(std::string_view answer) {
  if (answer.empty()) return AnswerKind::kOther;
  const bool is_number = is_digit(answer.front()) && is_digit(answer.back()) &&
                         std::ranges::all_of(answer, [](char byte) {
                           return is_digit(byte) || byte == ',' || byte == '.';
                         });
  const std::vector<PlainWord> words = plain_words(answer);
  // What stands beside the words at both ends is no part of a phrase.
  if (words.empty() || words.front().core.data() != answer.data() ||
      words.back().core.data() + words.back().core.size() != answer.data() + answer.size()) {
    return AnswerKind::kOther;
  }
  if (const auto date = date_at(words, 0); date && date->end == words.size()) {
    return date->kind == Phrase::Kind::kYear ? AnswerKind::kYear : AnswerKind::kDate;
  }
  if (is_number) return AnswerKind::kNumber;
  const auto name = name_at(words, 0);
  return name && name->end == words.size() ? AnswerKind::kName : AnswerKind::kOther;
}

std::string_view asking_word(std::string_view question) {
  for (const PlainWord& word : plain_words(question)) {
    const std::string lower = ascii_lower(word.core);
    const auto found = std::ranges::find(kAskingWords, lower);
    if (found != kAskingWords.end()) return *found;
  }
  return {};
}

bool has_words(std::string_view text, std::string_view words) {
  return !words.empty() && find_words(text, words, 0) != std::string_view::npos;
}

std::string renamed(std::string_view text, std::span<const Renaming> renamings) {
  std::string changed(text);
  for (const Renaming& renaming : renamings) changed = renamed_once(changed, renaming);
  return changed;
}

std::optional<std::string> other_number(std::string_view answer, Random& random) {
  std::string other(answer);
  const AnswerKind kind = kind_of(answer);
  if (kind == AnswerKind::kYear) {
    const int64_t apart = random.between(1, kYearsApart);
    const int64_t year = std::stoll(other);
    // A year begins with 1 or 20.
    const bool is_later = year + apart < 2025 && (year - apart < 1000 || random.chance(0.5));
    other = std::to_string(is_later ? year + apart : std::max<int64_t>(1000, year - apart));
  } else if (kind == AnswerKind::kNumber) {
    for (size_t i = 0; i < other.size(); ++i) {
      if (is_digit(other[i])) other[i] = static_cast<char>('0' + random.between(i == 0 ? 1 : 0, 9));
    }
  } else {
    return std::nullopt;
  }
  if (other == answer) return std::nullopt;
  return other;
}

}  // namespace msa::samples
