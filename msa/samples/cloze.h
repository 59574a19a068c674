#pragma once
// A sentence of a document turned into a question for one of its names, dates or numbers.

#include <optional>
#include <string_view>

#include "msa/samples/question_maker.h"
#include "msa/samples/random.h"

namespace msa::samples {

/// "who was elected in 2008", "when was Rome sacked by the Goths", "it was painted by who": asked
/// for from the front where the sentence's form allows it. A sentence that begins with a pronoun
/// speaks of the title. Nothing if no sentence has anything to ask for.
std::optional<MadeQuestion> cloze_question(std::string_view title, std::string_view text,
                                           Random& random);

}  // namespace msa::samples
