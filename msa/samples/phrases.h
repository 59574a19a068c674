#pragma once
// Sentences, words, names, dates and numbers of English text, found by their form alone.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace msa::samples {

/// Sentences in order, without the blanks around them. `text` is valid UTF-8.
std::vector<std::string_view> sentences_of(std::string_view text);

/// What stands between two blanks.
struct PlainWord {
  std::string_view whole;
  std::string_view core;     // without marks at both ends; may be empty
  bool is_capital = false;   // the core begins with a capital letter
  bool is_followed = false;  // a mark that ends a phrase stands behind the core
};

std::vector<PlainWord> plain_words(std::string_view text);

/// Words [first, end) of a sentence that a question can ask for.
struct Phrase {
  enum class Kind { kName, kDate, kYear, kNumber };
  size_t first = 0;
  size_t end = 0;
  Kind kind = Kind::kName;
};

/// The phrase that begins at a word, the longest there is.
std::optional<Phrase> phrase_at(const std::vector<PlainWord>& words, size_t place);

/// A date or a year.
std::optional<Phrase> date_at(const std::vector<PlainWord>& words, size_t place);

/// Capitalised words, with what may stand between them ("of the", "de"). A word that begins a
/// sentence or a clause but is no name by itself (The, In, He) begins none; nor does one that owns
/// what follows ("Rome's").
std::optional<Phrase> name_at(const std::vector<PlainWord>& words, size_t place);

/// The word behind a phrase, which a number counts; empty where the phrase ends the words.
std::string_view word_behind(const std::vector<PlainWord>& words, const Phrase& phrase);

/// Marks of general punctuation (dashes, curly quotes) are three bytes from E2 80 on.
bool is_wide_mark(std::string_view text);

/// From the first core's begin to the last core's end.
std::string_view text_of(const std::vector<PlainWord>& words, const Phrase& phrase);

/// Words [first, end) with a blank between; the last one without the marks behind it.
std::string joined(const std::vector<PlainWord>& words, size_t first, size_t end);

/// ASCII letters in lower case, all else as it is.
std::string ascii_lower(std::string_view text);

/// True for was, is, had, can and the like, in lower case.
bool is_auxiliary(std::string_view word);

/// True for in, on, by and the like, in lower case.
bool is_preposition(std::string_view word);

/// True for January, Monday and the like.
bool is_month_or_day(std::string_view word);

}  // namespace msa::samples
