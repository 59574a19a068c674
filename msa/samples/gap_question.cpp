#include "msa/samples/gap_question.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "msa/samples/cloze.h"
#include "msa/samples/phrases.h"

namespace msa::samples {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr size_t kMinPassageWords = 20;

/// A blank, or as many line ends as stood on one of both sides.
std::string_view blanks_between(std::string_view before, std::string_view behind) {
  constexpr std::string_view kLineEnds = "\n\n";
  const auto lines = std::max(std::ranges::count(before, '\n'), std::ranges::count(behind, '\n'));
  if (lines == 0) return " ";
  return kLineEnds.substr(0, std::min(static_cast<size_t>(lines), kLineEnds.size()));
}

/// `sentence` is a piece of `text`.
std::string without_sentence(std::string_view text, std::string_view sentence) {
  const auto begin = static_cast<size_t>(sentence.data() - text.data());
  std::string_view front = text.substr(0, begin);
  std::string_view back = text.substr(begin + sentence.size());
  const size_t front_end = front.find_last_not_of(kBlanks) + 1;
  const size_t back_begin = std::min(back.find_first_not_of(kBlanks), back.size());
  const std::string_view between =
      blanks_between(front.substr(front_end), back.substr(0, back_begin));
  front = front.substr(0, front_end);
  back = back.substr(back_begin);
  front.remove_prefix(std::min(front.find_first_not_of(kBlanks), front.size()));
  back = back.substr(0, back.find_last_not_of(kBlanks) + 1);
  std::string passage(front);
  if (!front.empty() && !back.empty()) passage += between;
  passage += back;
  return passage;
}

/// What a word has in common with its other forms: "founded", "founder".
std::string stem_of(const PlainWord& word) {
  constexpr size_t kStemBytes = 5;
  return ascii_lower(word.core).substr(0, kStemBytes);
}

/// Words of three letters or more that stand in any text.
bool is_common(std::string_view lower) {
  constexpr std::array<std::string_view, 123> kWords{
      "about", "above",   "after", "again",   "all",      "also",      "although", "among",
      "and",   "another", "any",   "are",     "around",   "became",    "because",  "become",
      "been",  "before",  "being", "below",   "between",  "both",      "but",      "called",
      "can",   "could",   "did",   "during",  "each",     "either",    "even",     "every",
      "first", "for",     "from",  "had",     "has",      "have",      "having",   "her",
      "him",   "his",     "how",   "however", "included", "including", "into",     "its",
      "known", "later",   "made",  "many",    "may",      "might",     "more",     "most",
      "much",  "named",   "never", "new",     "nor",      "not",       "now",      "off",
      "old",   "one",     "only",  "other",   "others",   "our",       "out",      "over",
      "own",   "same",    "see",   "several", "she",      "should",    "since",    "some",
      "still", "such",    "than",  "that",    "the",      "their",     "them",     "then",
      "there", "these",   "they",  "this",    "those",    "through",   "time",     "too",
      "two",   "under",   "until", "used",    "using",    "very",      "was",      "well",
      "were",  "what",    "when",  "where",   "which",    "while",     "who",      "whom",
      "whose", "why",     "will",  "with",    "within",   "without",   "would",    "year",
      "years", "yet",     "you"};
  static_assert(std::ranges::is_sorted(kWords));
  return std::ranges::binary_search(kWords, lower);
}

/// Stems of the words that say what a text is about, each once, but for those in `without`.
std::vector<std::string> telling_stems(const std::vector<PlainWord>& words,
                                       const std::vector<std::string>& without) {
  constexpr size_t kMinBytes = 4;
  constexpr size_t kMinNameBytes = 3;  // and of a number
  std::vector<std::string> stems;
  for (const PlainWord& word : words) {
    const bool is_number = !word.core.empty() && word.core[0] >= '0' && word.core[0] <= '9';
    const size_t least = word.is_capital || is_number ? kMinNameBytes : kMinBytes;
    if (word.core.size() < least || is_common(ascii_lower(word.core))) continue;
    std::string stem = stem_of(word);
    const auto is_in = [&](const auto& all) { return std::ranges::find(all, stem) != all.end(); };
    if (!is_in(stems) && !is_in(without)) stems.push_back(std::move(stem));
  }
  return stems;
}

/// Lower-case words that go on after a name by itself, verbs and prepositions aside.
bool follows_names(std::string_view word) {
  constexpr std::array<std::string_view, 20> kWords{
      "after", "against", "and",   "as",  "before", "between", "but",   "into",  "or",  "than",
      "that",  "through", "under", "via", "when",   "where",   "which", "while", "who", "without"};
  static_assert(std::ranges::is_sorted(kWords));
  return std::ranges::binary_search(kWords, word);
}

/// True for "Indian" in "the Indian government": one capitalised word in front of a noun.
bool is_adjective(const std::vector<PlainWord>& words, const Phrase& phrase) {
  if (phrase.end - phrase.first > 1 || phrase.end == words.size()) return false;
  if (words[phrase.first].is_followed || words[phrase.end].is_capital) return false;
  const std::string_view next = words[phrase.end].core;
  return !is_preposition(next) && !is_auxiliary(next) && !follows_names(next) &&
         !next.ends_with("ed");
}

/// Whether an answer can be worth finding: no letters of a short form, no month or day, no small
/// number, no adjective, no half of a bracket, nothing that explains the words in front of it or
/// owns those behind it.
bool is_worth_asking(const std::vector<PlainWord>& words, const Phrase& phrase) {
  constexpr size_t kMinAnswerBytes = 3;
  const PlainWord& first = words[phrase.first];
  const PlainWord& last = words[phrase.end - 1];
  const std::string_view answer = text_of(words, phrase);
  if (answer.size() < kMinAnswerBytes) return false;
  if (phrase.kind == Phrase::Kind::kNumber) return answer[0] <= '9';  // "two" stands anywhere
  if (phrase.kind != Phrase::Kind::kName) return true;
  if (answer.find_first_of("(\"") != std::string_view::npos) return false;
  return last.core.find('.') == std::string_view::npos && !is_month_or_day(first.core) &&
         !first.whole.starts_with('(') && !last.whole.ends_with('\'') &&
         !is_adjective(words, phrase);
}

bool has_half_bracket(std::string_view text) {
  return std::ranges::count(text, '(') != std::ranges::count(text, ')');
}

/// A phrase of a sentence, and the other sentences that have it too.
struct Recurring {
  std::string_view answer;
  std::vector<size_t> places;
};

/// A document's sentences with their words.
class Sentences {
 public:
  explicit Sentences(std::string_view text) : sentences_(sentences_of(text)) {
    for (const std::string_view sentence : sentences_) words_.push_back(plain_words(sentence));
  }

  size_t size() const { return sentences_.size(); }
  std::string_view text(size_t place) const { return sentences_[place]; }
  const std::vector<PlainWord>& words(size_t place) const { return words_[place]; }

  /// Where the phrase of sentence `own` stands besides.
  Recurring find(size_t own, const std::vector<PlainWord>& words, const Phrase& phrase) const {
    Recurring recurring{.answer = text_of(words, phrase), .places = {}};
    for (size_t place = 0; place < size(); ++place) {
      if (place != own && has(place, words, phrase)) recurring.places.push_back(place);
    }
    return recurring;
  }

 private:
  /// A phrase of the same kind, not a part of a longer name; a number counts the same things.
  bool has(size_t place, const std::vector<PlainWord>& words, const Phrase& phrase) const {
    const std::string_view answer = text_of(words, phrase);
    if (sentences_[place].find(answer) == std::string_view::npos) return false;
    const auto& others = words_[place];
    for (size_t i = 0; i < others.size(); ++i) {
      if (others[i].core.empty() || !answer.starts_with(others[i].core)) continue;
      const auto found = phrase_at(others, i);
      if (!found || found->kind != phrase.kind || text_of(others, *found) != answer) continue;
      if (phrase.kind != Phrase::Kind::kNumber) return true;
      if (word_behind(others, *found) == word_behind(words, phrase)) return true;
    }
    return false;
  }

  std::vector<std::string_view> sentences_;
  std::vector<std::vector<PlainWord>> words_;
};

/// Whether the other sentences lead to the answer and have to be read for it: one has a telling
/// word of the question, none has three or more that are three quarters of them.
bool is_reading(const MadeQuestion& made, const Sentences& sentences,
                std::span<const size_t> places, std::vector<std::string> without) {
  constexpr int64_t kMinCopied = 3;
  for (const PlainWord& word : plain_words(made.answer)) without.push_back(stem_of(word));
  const auto asked = telling_stems(plain_words(made.text), without);
  bool is_led_to = false;
  for (const size_t place : places) {
    const auto there = telling_stems(sentences.words(place), without);
    const int64_t shared = std::ranges::count_if(asked, [&](const std::string& stem) {
      return std::ranges::find(there, stem) != there.end();
    });
    if (shared >= kMinCopied && shared * 4 >= static_cast<int64_t>(asked.size()) * 3) return false;
    is_led_to = is_led_to || shared > 0;
  }
  return is_led_to;
}

}  // namespace

std::optional<GapQuestion> gap_question(std::string_view title, std::string_view text,
                                        Random& random) {
  const Sentences sentences(text);
  const auto title_stems = telling_stems(plain_words(title), {});
  std::vector<size_t> order(sentences.size());
  std::iota(order.begin(), order.end(), size_t{0});
  random.shuffle(order);
  for (const size_t place : order) {
    std::vector<Recurring> recurring;
    const auto may_ask = [&](const std::vector<PlainWord>& words, const Phrase& phrase) {
      if (!is_worth_asking(words, phrase)) return false;
      Recurring found = sentences.find(place, words, phrase);
      if (found.places.empty() || title.find(found.answer) != std::string_view::npos) return false;
      recurring.push_back(std::move(found));
      return true;
    };
    const std::string_view sentence = sentences.text(place);
    auto made =
        sentence_question(title, sentence, {.may_ask = may_ask, .keeps_place = true}, random);
    if (!made || has_half_bracket(made->text)) continue;
    const auto asked = std::ranges::find(recurring, made->answer, &Recurring::answer);
    if (!is_reading(*made, sentences, asked->places, title_stems)) continue;
    std::string passage = without_sentence(text, sentence);
    if (passage.find(sentence) != std::string::npos) continue;
    if (plain_words(passage).size() < kMinPassageWords) continue;
    return GapQuestion{.text = std::move(made->text),
                       .answer = std::move(made->answer),
                       .sentence = std::string(sentence),
                       .passage = std::move(passage)};
  }
  return std::nullopt;
}

}  // namespace msa::samples
