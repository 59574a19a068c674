#pragma once
// One name, date or number in the place of another: a text that is read for its answer then has
// another answer every time, and nobody can remember it.

#include <optional>
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

/// Everywhere, as whole words of the same case.
struct Renaming {
  std::string from;
  std::string to;
};

/// True if `words` stand in `text`, no letter or digit before or behind them.
bool has_words(std::string_view text, std::string_view words);

std::string renamed(std::string_view text, const Renaming& renaming);

/// Another year or number, as long and not far from it; nothing for other kinds.
std::optional<std::string> other_number(std::string_view answer, Random& random);

}  // namespace msa::samples
