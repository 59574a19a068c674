#include "msa/corpus/evidence_span.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "msa/corpus/words.h"
#include "msa/text/unicode.h"

namespace msa::corpus {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/// Sentences end with . ! ? before a blank, with their full-width forms, and
/// with a line.
std::vector<Span> sentences_of(std::string_view text) {
  std::vector<Span> sentences;
  const auto size = static_cast<int64_t>(text.size());
  int64_t start = 0;
  const auto close = [&](int64_t end) {
    int64_t last = end;
    while (start < last && is_blank(text[start])) ++start;
    while (last > start && is_blank(text[last - 1])) --last;
    if (start < last) sentences.push_back({start, last});
    start = end;
  };
  for (int64_t i = 0; i < size; ++i) {
    const char c = text[i];
    const std::string_view rest = text.substr(static_cast<size_t>(i));
    if (c == '\n') {
      close(i);
    } else if ((c == '.' || c == '!' || c == '?') && i + 1 < size && is_blank(text[i + 1])) {
      close(i + 1);
    } else if (rest.starts_with("\xE3\x80\x82") || rest.starts_with("\xEF\xBC\x81") ||
               rest.starts_with("\xEF\xBC\x9F")) {
      close(i + 3);
      i += 2;
    }
  }
  close(size);
  return sentences;
}

/// Lower case without blanks.
std::string squeezed(std::string_view text) {
  std::string result = lower_case(text);
  std::erase_if(result, is_blank);
  return result;
}

/// Whether every character is of a script where words stand together without
/// blanks (from Thai up, so that Latin, Greek, Cyrillic, Arabic and the like
/// are still compared by whole words).
bool is_written_without_blanks(std::string_view answer) {
  bool result = !answer.empty();
  for (size_t i = 0; i < answer.size();) {
    const text::Decoded c = text::decode_utf8(answer, i);
    result = result && c.code_point >= 0x0E00;
    i += static_cast<size_t>(c.length);
  }
  return result;
}

}  // namespace

FoundEvidence find_evidence(std::string_view passage, std::string_view question,
                            std::string_view answer) {
  const auto words = words_of(passage);
  const auto wanted = words_of(answer);
  std::set<std::string> question_words;
  for (const Word& word : words_of(question)) question_words.insert(word.text);
  std::set<std::string> all_words = question_words;
  for (const Word& word : wanted) all_words.insert(word.text);

  const std::string squeezed_answer = squeezed(answer);
  const bool is_sought_within_words = is_written_without_blanks(squeezed_answer);

  FoundEvidence best{{0, static_cast<int64_t>(passage.size())}, false};
  int64_t best_score = -1;
  size_t first = 0;  // word that begins the sentence
  for (const Span& sentence : sentences_of(passage)) {
    while (first < words.size() && words[first].start < sentence.start) ++first;
    size_t end = first;
    while (end < words.size() && words[end].end <= sentence.end) ++end;
    bool holds = false;
    for (size_t i = first; !wanted.empty() && i + wanted.size() <= end && !holds; ++i) {
      holds = std::equal(wanted.begin(), wanted.end(), words.begin() + static_cast<ptrdiff_t>(i),
                         [](const Word& a, const Word& b) { return a.text == b.text; });
    }
    if (!holds && is_sought_within_words) {
      holds = squeezed(passage.substr(static_cast<size_t>(sentence.start),
                                      static_cast<size_t>(sentence.end - sentence.start)))
                  .find(squeezed_answer) != std::string::npos;
    }
    const auto& counted = holds ? question_words : all_words;
    std::set<std::string> seen;
    for (size_t i = first; i < end; ++i) {
      if (counted.contains(words[i].text)) seen.insert(words[i].text);
    }
    const int64_t score = static_cast<int64_t>(seen.size()) + (holds ? 1'000'000 : 0);
    if (score > best_score) {
      best_score = score;
      best = {sentence, holds};
    }
  }
  return best;
}

}  // namespace msa::corpus
