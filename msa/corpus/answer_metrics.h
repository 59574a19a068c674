#pragma once
// How well a written answer agrees with reference answers, as SQuAD measures it.

#include <span>
#include <string>
#include <string_view>

namespace msa::corpus {

/// Lower case, without ASCII punctuation and the words a, an, the; words joined by one blank.
/// `text` is valid UTF-8.
std::string normalize_answer(std::string_view text);

/// Whether the prediction equals a reference once both are normalized. All valid UTF-8.
/// Throws Error(kInvalidArgument) without references.
bool exact_match(std::string_view prediction, std::span<const std::string> references);

/// Harmonic mean of precision and recall over normalized words, of the best reference, 0 to 1.
/// 0 where no word is shared, also where both are empty. Throws as exact_match.
double f1(std::string_view prediction, std::span<const std::string> references);

}  // namespace msa::corpus
