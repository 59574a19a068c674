#include "msa/corpus/evidence_span.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "msa/corpus/sentence_end.h"
#include "msa/corpus/words.h"
#include "msa/text/unicode.h"

namespace msa::corpus {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/// Sentences end as ends_sentence() says, and with a line.
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
  for (int64_t place = 1; place < size; ++place) {
    if (text[place] == '\n' || ends_sentence(text, place)) close(place);
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

/// A passage cut into sentences and words, and how much of a question stands in which.
class Passage {
 public:
  explicit Passage(std::string_view text) : text_(text), sentences_(sentences_of(text)) {
    words_ = words_of(text);
    size_t next = 0;
    for (const Span& sentence : sentences_) {
      first_word_.push_back(next);
      while (next < words_.size() && words_[next].end <= sentence.end) {
        sentence_of_.push_back(first_word_.size() - 1);
        ++next;
      }
    }
    first_word_.push_back(next);
  }

  size_t num_sentences() const { return sentences_.size(); }

  Span span(size_t first, size_t last) const {
    return {sentences_[first].start, sentences_[last].end};
  }

  std::string_view text_of(size_t sentence) const {
    const Span span = sentences_[sentence];
    return text_.substr(static_cast<size_t>(span.start),
                        static_cast<size_t>(span.end - span.start));
  }

  /// First and last sentence of every place where the words stand one after the other.
  std::vector<std::pair<size_t, size_t>> find(const std::vector<Word>& wanted) const {
    std::vector<std::pair<size_t, size_t>> places;
    for (size_t i = 0; !wanted.empty() && i + wanted.size() <= words_.size(); ++i) {
      if (std::equal(wanted.begin(), wanted.end(), words_.begin() + static_cast<ptrdiff_t>(i),
                     [](const Word& a, const Word& b) { return a.text == b.text; })) {
        places.emplace_back(sentence_of_[i], sentence_of_[i + wanted.size() - 1]);
      }
    }
    return places;
  }

  /// How many of the words stand in the sentences first to last.
  int64_t count_words(const std::set<std::string>& counted, size_t first, size_t last) const {
    std::set<std::string_view> seen;
    for (size_t i = first_word_[first]; i < first_word_[last + 1]; ++i) {
      if (counted.contains(words_[i].text)) seen.insert(words_[i].text);
    }
    return static_cast<int64_t>(seen.size());
  }

 private:
  std::string_view text_;
  std::vector<Span> sentences_;
  std::vector<Word> words_;
  std::vector<size_t> sentence_of_;  // of each word
  std::vector<size_t> first_word_;   // of each sentence, and the end of the last
};

std::set<std::string> texts_of(const std::vector<Word>& words) {
  std::set<std::string> texts;
  for (const Word& word : words) texts.insert(word.text);
  return texts;
}

}  // namespace

FoundEvidence find_evidence(std::string_view passage_text, std::string_view question,
                            std::string_view answer) {
  const Passage passage(passage_text);
  const std::vector<Word> wanted = words_of(answer);
  const std::set<std::string> question_words = texts_of(words_of(question));
  std::set<std::string> all_words = texts_of(wanted);
  all_words.insert(question_words.begin(), question_words.end());

  std::vector<std::pair<size_t, size_t>> holding = passage.find(wanted);
  const std::string squeezed_answer = squeezed(answer);
  if (is_written_without_blanks(squeezed_answer)) {
    for (size_t i = 0; i < passage.num_sentences(); ++i) {
      if (squeezed(passage.text_of(i)).find(squeezed_answer) != std::string::npos) {
        holding.emplace_back(i, i);
      }
    }
  }
  const bool holds_answer = !holding.empty();
  if (!holds_answer) {
    for (size_t i = 0; i < passage.num_sentences(); ++i) holding.emplace_back(i, i);
  }

  FoundEvidence best{{0, static_cast<int64_t>(passage_text.size())}, holds_answer};
  std::pair<bool, int64_t> best_score{false, -1};
  for (const auto& [first, last] : holding) {
    const std::pair<bool, int64_t> score{
        first == last, passage.count_words(holds_answer ? question_words : all_words, first, last)};
    if (score > best_score) {
      best_score = score;
      best.span = passage.span(first, last);
    }
  }
  return best;
}

}  // namespace msa::corpus
