#include "msa/corpus/answer_metrics.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "msa/base/error.h"
#include "msa/corpus/words.h"
#include "msa/text/unicode.h"

namespace msa::corpus {
namespace {

bool is_ascii_punctuation(char c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}

bool is_article(std::string_view word) { return word == "a" || word == "an" || word == "the"; }

/// White space of Unicode, and the four separators that Python splits at too.
bool is_space(char32_t c) {
  return (c >= 0x1C && c <= 0x1F) || text::class_of(c) == text::CharacterClass::kSpace;
}

std::vector<std::string> normalized_words(std::string_view text) {
  std::string plain = lower_case(text);
  std::erase_if(plain, is_ascii_punctuation);
  for (const Word& word : words_of(plain)) {
    if (!is_article(word.text)) continue;
    std::fill(plain.begin() + word.start, plain.begin() + word.end, ' ');
  }
  std::vector<std::string> words;
  bool is_inside = false;
  for (size_t i = 0; i < plain.size();) {
    const text::Decoded c = text::decode_utf8(plain, i);
    const auto length = static_cast<size_t>(c.length);
    if (is_space(c.code_point)) {
      is_inside = false;
    } else {
      if (!is_inside) words.emplace_back();
      words.back().append(plain, i, length);
      is_inside = true;
    }
    i += length;
  }
  return words;
}

}  // namespace

std::string normalize_answer(std::string_view text) {
  std::string joined;
  for (const std::string& word : normalized_words(text)) {
    if (!joined.empty()) joined += ' ';
    joined += word;
  }
  return joined;
}

bool exact_match(std::string_view prediction, std::span<const std::string> references) {
  MSA_CHECK(!references.empty(), "an answer is compared with at least one reference");
  const std::string normalized = normalize_answer(prediction);
  return std::any_of(references.begin(), references.end(), [&](const std::string& reference) {
    return normalize_answer(reference) == normalized;
  });
}

double f1(std::string_view prediction, std::span<const std::string> references) {
  MSA_CHECK(!references.empty(), "an answer is compared with at least one reference");
  std::vector<std::string> predicted = normalized_words(prediction);
  std::sort(predicted.begin(), predicted.end());
  double best = 0;
  for (const std::string& reference : references) {
    std::vector<std::string> wanted = normalized_words(reference);
    std::sort(wanted.begin(), wanted.end());
    std::vector<std::string> shared;
    std::set_intersection(predicted.begin(), predicted.end(), wanted.begin(), wanted.end(),
                          std::back_inserter(shared));
    if (shared.empty()) continue;
    best = std::max(best, 2.0 * static_cast<double>(shared.size()) /
                              static_cast<double>(predicted.size() + wanted.size()));
  }
  return best;
}

}  // namespace msa::corpus
