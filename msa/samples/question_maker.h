#pragma once
// Questions made from the text of any document, with what answers them where that can be known.

#include <optional>
#include <string>
#include <string_view>

#include "msa/samples/random.h"

namespace msa::samples {

enum class MadeKind {
  kSpan,   // a piece of the text, as an inverse cloze
  kWords,  // some words of the text, in any order
  kTitle,  // the title, or "who is" and the title
  kCloze,  // a sentence with a question word in place of a name, a date or a number
  kFact,   // a wording of the first sentences turned into a question
};

struct MadeQuestion {
  std::string text;
  std::string answer;  // a piece of the document's text; empty: none is known
};

/// The same for equal arguments and an equal state of `random`. Nothing where the document gives
/// no such question: too short, no title, no name. `text` and `title` are valid UTF-8; so is the
/// question, on one line.
std::optional<MadeQuestion> make_question(MadeKind kind, std::string_view title,
                                          std::string_view text, Random& random);

/// How people type: lower case, often without the mark at the end.
std::string as_typed(std::string_view question, Random& random);

}  // namespace msa::samples
