#pragma once
// One name, date or number in the place of another: a text that is read for its answer then has
// another answer every time, and nobody can remember it.

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "msa/samples/random.h"

namespace msa::samples {

/// What an answer is, by its form alone.
enum class AnswerKind { kOther, kName, kDate, kYear, kNumber };

AnswerKind kind_of(std::string_view answer);

/// "who", "where", "when", "what", "which" or "how", whichever stands first in a question, in any
/// case; empty if none does.
std::string_view asking_word(std::string_view question);

/// Everywhere, as whole words of the same case: no letter or digit stands before or behind them,
/// nor a point or comma with a digit.
struct Renaming {
  std::string from;
  std::string to;
};

/// True if `words` stand in `text` as a renaming would find them.
bool has_words(std::string_view text, std::string_view words);

/// By each, one after the other.
std::string renamed(std::string_view text, std::span<const Renaming> renamings);

/// Another year, not far from it, or another number as long; nothing for other kinds, and where the
/// same was drawn.
std::optional<std::string> other_number(std::string_view answer, Random& random);

}  // namespace msa::samples
