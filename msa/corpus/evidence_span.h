#pragma once
// The sentence of a passage that best supports an answer.

#include <string_view>

#include "msa/corpus/passage_splitter.h"

namespace msa::corpus {

struct FoundEvidence {
  Span span;                  // of the passage, on borders of characters, trimmed of blanks
  bool holds_answer = false;  // the answer's words stand in it, one after the other
};

/// The sentence that holds the answer's words in order, regardless of case and of what stands
/// between words; of several, the one with the most words of the question, then the first. Where
/// the words run over the end of a sentence, all sentences that they stand in. Without any, the
/// sentence with the most words of question and answer. All valid UTF-8. A passage of nothing but
/// blanks is returned whole.
FoundEvidence find_evidence(std::string_view passage_text, std::string_view question,
                            std::string_view answer);

}  // namespace msa::corpus
