#include "msa/samples/phrases.h"

#include <algorithm>
#include <array>

#include "msa/corpus/sentence_end.h"

namespace msa::samples {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

template <size_t kCount>
bool is_one_of(std::string_view word, const std::array<std::string_view, kCount>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

constexpr std::array<std::string_view, 12> kMonths{"January",   "February", "March",    "April",
                                                   "May",       "June",     "July",     "August",
                                                   "September", "October",  "November", "December"};

constexpr std::array<std::string_view, 7> kDays{"Monday", "Tuesday",  "Wednesday", "Thursday",
                                                "Friday", "Saturday", "Sunday"};

constexpr std::array<std::string_view, 20> kNumberWords{
    "two",       "three",  "four",   "five",   "six",    "seven",    "eight",
    "nine",      "ten",    "eleven", "twelve", "twenty", "thirteen", "fifteen",
    "seventeen", "thirty", "forty",  "fifty",  "sixty",  "eighty"};

/// Capitalised where a sentence begins, and no names.
constexpr std::array<std::string_view, 86> kNoNames{
    "A",     "About",   "According", "After",  "All",   "Also",    "Although", "Among",   "An",
    "And",   "Another", "Around",    "As",     "At",    "Because", "Before",   "Between", "Both",
    "But",   "By",      "Despite",   "During", "Each",  "Early",   "Even",     "Every",   "Few",
    "First", "For",     "From",      "He",     "Her",   "Here",    "His",      "How",     "However",
    "I",     "If",      "In",        "It",     "Its",   "Later",   "Many",     "Most",    "My",
    "No",    "Not",     "Now",       "On",     "Once",  "One",     "Only",     "Or",      "Other",
    "Our",   "Several", "She",       "Since",  "So",    "Some",    "Such",     "That",    "The",
    "Their", "Then",    "There",     "These",  "They",  "This",    "Those",    "Though",  "Through",
    "To",    "Today",   "Two",       "Under",  "Until", "Upon",    "We",       "What",    "When",
    "Where", "Which",   "While",     "With",   "You"};

constexpr std::array<std::string_view, 17> kAuxiliaries{
    "is",  "was",   "are", "were",  "has",  "had", "have", "can",   "could",
    "did", "would", "may", "might", "will", "do",  "does", "should"};

constexpr std::array<std::string_view, 15> kPrepositions{
    "in",   "on",   "at",    "by",    "for",    "from",   "of",   "to",
    "with", "near", "since", "until", "during", "around", "about"};

bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

bool are_digits(std::string_view word, size_t least, size_t most) {
  return word.size() >= least && word.size() <= most &&
         std::all_of(word.begin(), word.end(), is_digit);
}

bool is_year(std::string_view word) {
  return are_digits(word, 4, 4) && (word[0] == '1' || word.starts_with("20"));
}

bool is_number(std::string_view word) {
  if (word.empty()) return false;
  if (is_one_of(word, kNumberWords)) return true;
  return is_digit(word.front()) && is_digit(word.back()) &&
         std::all_of(word.begin(), word.end(),
                     [](char byte) { return is_digit(byte) || byte == ',' || byte == '.'; });
}

bool is_letter_or_digit(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return value >= 0x80 || is_digit(byte) || (value | 0x20U) - 'a' < 26U;
}

std::string_view core_of(std::string_view word) {
  for (;;) {
    if (is_wide_mark(word)) {
      word.remove_prefix(3);
    } else if (!word.empty() && !is_letter_or_digit(word.front())) {
      word.remove_prefix(1);
    } else {
      break;
    }
  }
  for (;;) {
    if (word.size() >= 3 && is_wide_mark(word.substr(word.size() - 3))) {
      word.remove_suffix(3);
    } else if (!word.empty() && !is_letter_or_digit(word.back())) {
      word.remove_suffix(1);
    } else {
      return word;
    }
  }
}

/// A capital of ASCII or of Latin-1.
bool begins_with_capital(std::string_view word) {
  if (word.empty()) return false;
  if (word[0] >= 'A' && word[0] <= 'Z') return true;
  return word.size() >= 2 && word[0] == '\xC3' && static_cast<unsigned char>(word[1]) <= 0x9E;
}

/// An initial or a short form, whose full stop ends nothing.
bool is_abbreviated(std::string_view core) {
  return core.size() == 1 || core == "Jr" || core == "Sr" || core == "St" || core == "Dr" ||
         core == "Mr" || core == "Mrs" || core.find('.') != std::string_view::npos;
}

/// Words that may stand inside of a name, and how many of them from `place` on.
size_t connecting_words(const std::vector<PlainWord>& words, size_t place) {
  const std::string_view core = words[place].core;
  if (words[place].whole == "&") return 1;
  if (words[place].is_followed) return 0;
  if (core == "de" || core == "van" || core == "von" || core == "la" || core == "di" ||
      core == "al") {
    return 1;
  }
  if (core != "of") return 0;
  return place + 1 < words.size() && words[place + 1].whole == "the" ? 2 : 1;
}

}  // namespace

bool is_wide_mark(std::string_view text) {
  return text.size() >= 3 && text.starts_with("\xE2\x80");
}

std::vector<std::string_view> sentences_of(std::string_view text) {
  std::vector<std::string_view> sentences;
  size_t begin = 0;
  for (size_t place = 0; place <= text.size(); ++place) {
    const bool is_end = place == text.size() || text[place] == '\n';
    if (!is_end &&
        (text[place] != ' ' || !corpus::ends_sentence(text, static_cast<int64_t>(place)))) {
      continue;
    }
    std::string_view sentence = text.substr(begin, place - begin);
    begin = place;
    const size_t first = sentence.find_first_not_of(kBlanks);
    if (first == std::string_view::npos) continue;
    sentence.remove_prefix(first);
    sentences.push_back(sentence.substr(0, sentence.find_last_not_of(kBlanks) + 1));
  }
  return sentences;
}

std::vector<PlainWord> plain_words(std::string_view text) {
  std::vector<PlainWord> words;
  size_t place = 0;
  while ((place = text.find_first_not_of(kBlanks, place)) != std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(kBlanks, place), text.size());
    PlainWord word{.whole = text.substr(place, end - place), .core = {}};
    word.core = core_of(word.whole);
    word.is_capital = begins_with_capital(word.core);
    const auto behind =
        static_cast<size_t>(word.core.data() - word.whole.data()) + word.core.size();
    const std::string_view marks = word.whole.substr(std::min(behind, word.whole.size()));
    word.is_followed =
        word.core.empty() || (!marks.empty() && !(marks == "." && is_abbreviated(word.core)));
    words.push_back(word);
    place = end;
  }
  return words;
}

std::optional<Phrase> date_at(const std::vector<PlainWord>& words, size_t place) {
  const auto core = [&](size_t i) { return i < words.size() ? words[i].core : std::string_view(); };
  const auto is_open = [&](size_t i) {  // nothing but a comma, as in "May 3, 1980"
    return words[i].whole.ends_with(words[i].core) || words[i].whole.back() == ',';
  };
  const auto date = [&](size_t count) {
    return Phrase{.first = place, .end = place + count, .kind = Phrase::Kind::kDate};
  };
  if (is_one_of(core(place), kMonths) && !words[place].is_followed) {
    if (are_digits(core(place + 1), 1, 2) && is_open(place + 1) && is_year(core(place + 2)))
      return date(3);
    if (is_year(core(place + 1))) return date(2);
    return std::nullopt;
  }
  if (are_digits(core(place), 1, 2) && !words[place].is_followed &&
      is_one_of(core(place + 1), kMonths) && is_open(place + 1)) {
    return date(is_year(core(place + 2)) ? 3 : 2);
  }
  if (!is_year(core(place))) return std::nullopt;
  return Phrase{.first = place, .end = place + 1, .kind = Phrase::Kind::kYear};
}

std::optional<Phrase> name_at(const std::vector<PlainWord>& words, size_t place) {
  if (!words[place].is_capital || is_one_of(words[place].core, kNoNames)) return std::nullopt;
  size_t end = place + 1;
  while (end < words.size() && !words[end - 1].is_followed) {
    const size_t skipped = connecting_words(words, end);
    if (end + skipped >= words.size() || !words[end + skipped].is_capital) break;
    if (!words[end + skipped].whole.starts_with(words[end + skipped].core)) break;  // a bracket
    end += skipped + 1;
  }
  const std::string_view last = words[end - 1].core;
  if (last.ends_with("'s") || last.ends_with("\xE2\x80\x99s")) return std::nullopt;
  return Phrase{.first = place, .end = end, .kind = Phrase::Kind::kName};
}

std::optional<Phrase> phrase_at(const std::vector<PlainWord>& words, size_t place) {
  if (auto date = date_at(words, place)) return date;
  if (is_number(words[place].core) && !words[place].is_followed && place + 1 < words.size()) {
    const std::string_view next = words[place + 1].core;
    if (!next.empty() && next[0] >= 'a' && next[0] <= 'z' && !is_preposition(next)) {
      const bool is_large =
          next == "million" || next == "billion" || next == "hundred" || next == "thousand";
      const size_t end = is_large && !words[place + 1].is_followed ? place + 2 : place + 1;
      return Phrase{.first = place, .end = end, .kind = Phrase::Kind::kNumber};
    }
  }
  return name_at(words, place);
}

std::string_view word_behind(const std::vector<PlainWord>& words, const Phrase& phrase) {
  return phrase.end < words.size() ? words[phrase.end].core : std::string_view();
}

std::string_view text_of(const std::vector<PlainWord>& words, const Phrase& phrase) {
  const char* begin = words[phrase.first].core.data();
  const std::string_view last = words[phrase.end - 1].core;
  return {begin, static_cast<size_t>(last.data() + last.size() - begin)};
}

std::string joined(const std::vector<PlainWord>& words, size_t first, size_t end) {
  std::string text;
  for (size_t i = first; i < end; ++i) {
    if (!text.empty()) text += ' ';
    const PlainWord& word = words[i];
    if (i + 1 < end || word.core.empty()) {
      text += word.whole;
    } else {
      text += word.whole.substr(
          0, static_cast<size_t>(word.core.data() - word.whole.data()) + word.core.size());
    }
  }
  return text;
}

std::string ascii_lower(std::string_view text) {
  std::string lower(text);
  for (char& byte : lower) {
    if (byte >= 'A' && byte <= 'Z') byte = static_cast<char>(byte | 0x20);
  }
  return lower;
}

bool is_auxiliary(std::string_view word) { return is_one_of(word, kAuxiliaries); }
bool is_preposition(std::string_view word) { return is_one_of(word, kPrepositions); }

bool is_month_or_day(std::string_view word) {
  return is_one_of(word, kMonths) || is_one_of(word, kDays);
}

}  // namespace msa::samples
