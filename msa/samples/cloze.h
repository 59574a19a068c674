#pragma once
// A sentence of a document turned into a question for one of its names, dates or numbers.

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "msa/samples/phrases.h"
#include "msa/samples/question_maker.h"
#include "msa/samples/random.h"

namespace msa::samples {

/// "who was elected in 2008", "when was Rome sacked by the Goths", "it was painted by who": asked
/// for from the front where the sentence's form allows it. A sentence that begins with a pronoun
/// speaks of the title. Nothing if no sentence has anything to ask for.
std::optional<MadeQuestion> cloze_question(std::string_view title, std::string_view text,
                                           Random& random);

struct SentenceQuestionOptions {
  /// Whether a phrase of the sentence's words may be asked for.
  std::function<bool(const std::vector<PlainWord>& words, const Phrase& phrase)> may_ask;

  /// Words are brought to the front only where the place that they leave can be told: not "what is
  /// it north of and south of Rome".
  bool keeps_place = false;
};

/// The same of one sentence, for one of the phrases that may be asked for.
std::optional<MadeQuestion> sentence_question(std::string_view title, std::string_view sentence,
                                              const SentenceQuestionOptions& options,
                                              Random& random);

}  // namespace msa::samples
