#include "msa/samples/question_maker.h"

#include <algorithm>
#include <vector>

#include "msa/corpus/words.h"
#include "msa/samples/cloze.h"
#include "msa/samples/facts.h"
#include "msa/samples/phrases.h"

namespace msa::samples {
namespace {

constexpr size_t kMinWords = 10;  // of a text that a span is taken from
constexpr size_t kMaxSpanWords = 15;
constexpr size_t kMinSpanWords = 4;
constexpr size_t kKeywordWindow = 40;  // keywords stand near each other
constexpr size_t kMinKeywordBytes = 4;
constexpr size_t kMaxTitleWords = 16;

std::optional<MadeQuestion> span_question(std::string_view text, Random& random) {
  const auto words = plain_words(text);
  if (words.size() < kMinWords) return std::nullopt;
  const auto first =
      static_cast<size_t>(random.below(static_cast<int64_t>(words.size() - kMinSpanWords)));
  const auto count = static_cast<size_t>(random.between(kMinSpanWords, kMaxSpanWords));
  return MadeQuestion{.text = joined(words, first, std::min(words.size(), first + count)),
                      .answer = {}};
}

std::optional<MadeQuestion> words_question(std::string_view text, Random& random) {
  std::vector<std::string_view> words;
  for (const PlainWord& word : plain_words(text)) {
    if (word.core.size() >= kMinKeywordBytes) words.push_back(word.core);
  }
  if (words.size() < kMinWords) return std::nullopt;
  const auto first =
      static_cast<size_t>(random.below(static_cast<int64_t>(words.size() - kMinSpanWords)));
  std::vector<std::string_view> near(
      words.begin() + static_cast<ptrdiff_t>(first),
      words.begin() + static_cast<ptrdiff_t>(std::min(words.size(), first + kKeywordWindow)));
  random.shuffle(near);
  near.resize(std::min(near.size(), static_cast<size_t>(random.between(3, 6))));
  MadeQuestion made;
  for (const std::string_view word : near) {
    if (!made.text.empty()) made.text += ' ';
    made.text += word;
  }
  return made;
}

std::optional<MadeQuestion> title_question(std::string_view title, Random& random) {
  const std::string_view plain = plain_title(title);
  // "Rome (film)" is asked for as such half of the time; "Rome (3)" is a part of Rome.
  const bool is_numbered = plain.size() + 3 <= title.size() && title[plain.size() + 2] >= '0' &&
                           title[plain.size() + 2] <= '9';
  const std::string_view name = is_numbered || random.chance(0.5) ? plain : title;
  const auto words = plain_words(name);
  if (words.empty() || words.size() > kMaxTitleWords) return std::nullopt;
  std::string text;
  const double way = random.uniform();
  if (way < 0.06) text = "who is ";
  if (way >= 0.06 && way < 0.14) text = "what is ";
  if (way >= 0.14 && way < 0.25) text = "tell me about ";
  for (const PlainWord& word : words) {
    if (!text.empty() && text.back() != ' ') text += ' ';
    text += word.whole;
  }
  return MadeQuestion{.text = std::move(text), .answer = {}};
}

std::optional<MadeQuestion> fact_question(std::string_view title, std::string_view text,
                                          Random& random) {
  const auto facts = facts_of(title, text);
  if (facts.empty()) return std::nullopt;
  const Fact& fact = random.pick(facts);
  return MadeQuestion{.text = question_of(fact, plain_title(title), random), .answer = fact.answer};
}

}  // namespace

std::optional<MadeQuestion> make_question(MadeKind kind, std::string_view title,
                                          std::string_view text, Random& random) {
  switch (kind) {
    case MadeKind::kSpan:
      return span_question(text, random);
    case MadeKind::kWords:
      return words_question(text, random);
    case MadeKind::kTitle:
      return title_question(title, random);
    case MadeKind::kCloze:
      return cloze_question(title, text, random);
    case MadeKind::kFact:
      return fact_question(title, text, random);
  }
  return std::nullopt;
}

std::string as_typed(std::string_view question, Random& random) {
  std::string typed = corpus::lower_case(question);
  if (random.chance(0.5)) {
    while (!typed.empty() && (typed.back() == '?' || typed.back() == ' ')) typed.pop_back();
  }
  return typed.empty() ? std::string(question) : typed;
}

}  // namespace msa::samples
