#pragma once
// Reading that no source supplies: a phrase that a document has twice is asked for by one of its
// sentences, and has to be found in the rest, where other words stand around it. Source: recurring
// span selection, arXiv 2101.00438.

#include <optional>
#include <string>
#include <string_view>

#include "msa/samples/random.h"

namespace msa::samples {

struct GapQuestion {
  std::string text;
  std::string answer;    // a name, a date, a year or a number; a phrase of the passage too
  std::string sentence;  // that the question was made from
  std::string passage;   // the document's text without the sentence
};

/// A cloze question whose answer stands in another sentence of the text as well. The same for equal
/// arguments and an equal state of `random`. Nothing where no phrase recurs. `title` and `text` are
/// valid UTF-8; so is all that is returned.
std::optional<GapQuestion> gap_question(std::string_view title, std::string_view text,
                                        Random& random);

}  // namespace msa::samples
