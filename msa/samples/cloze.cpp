#include "msa/samples/cloze.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "msa/samples/facts.h"

namespace msa::samples {
namespace {

constexpr int kMaxTries = 4;
constexpr size_t kMinSentenceWords = 6;
constexpr size_t kMaxSentenceWords = 60;
constexpr size_t kMaxSubjectWords = 8;
constexpr size_t kMaxWordsBefore = 16;
constexpr size_t kMaxWordsBehind = 8;
constexpr size_t kMaxAnswerBytes = 80;

/// A sentence and the piece of it that is asked for.
struct Gap {
  const std::vector<PlainWord>& words;
  Phrase phrase;
  std::string_view subject;  // what a pronoun at the sentence's begin stands for; may be empty
  size_t begin = 0;          // first word of the phrase's clause
  size_t end = 0;            // one behind its last word that is kept

  std::string_view before() const {
    return phrase.first > begin ? words[phrase.first - 1].core : std::string_view();
  }
};

std::string_view question_word(const Gap& gap, Random& random) {
  switch (gap.phrase.kind) {
    case Phrase::Kind::kYear:
      return random.chance(0.5) ? "what year" : "when";
    case Phrase::Kind::kDate:
      return "when";
    case Phrase::Kind::kNumber:
      return "how many";
    case Phrase::Kind::kName:
      break;
  }
  const std::string_view before = gap.before();
  if (before == "by" || before == "with") return "who";
  if (before == "in" || before == "at" || before == "near" || before == "from") {
    return random.chance(0.7) ? "where" : "what place";
  }
  const bool is_single = gap.phrase.end == gap.phrase.first + 1;
  return is_single || random.chance(0.5) ? "what" : "who";
}

/// Words with the subject in place of a pronoun at the sentence's begin.
std::string told(const Gap& gap, size_t first, size_t end) {
  if (first > 0 || end == 0 || gap.subject.empty()) return joined(gap.words, first, end);
  const std::string_view pronoun = gap.words[0].core;
  std::string text(gap.subject);
  if (pronoun == "His" || pronoun == "Her" || pronoun == "Its" || pronoun == "Their") text += "'s";
  const std::string rest = joined(gap.words, 1, end);
  return rest.empty() ? text : text + " " + rest;
}

void append(std::string& text, std::string_view more) {
  if (more.empty()) return;
  if (!text.empty()) text += ' ';
  text += more;
}

bool is_finite_verb(std::string_view word) {
  constexpr std::array<std::string_view, 14> kVerbs{"won",   "wrote",  "became", "made",  "led",
                                                    "took",  "began",  "held",   "built", "left",
                                                    "plays", "played", "found",  "met"};
  return is_auxiliary(word) || (word.size() > 4 && word.ends_with("ed")) ||
         std::find(kVerbs.begin(), kVerbs.end(), word) != kVerbs.end();
}

/// "who was elected in 2008": the phrase is the subject. Empty if what follows is no verb.
std::string subject_form(const Gap& gap, Random& random) {
  const size_t verb = gap.phrase.end;
  if (gap.phrase.kind != Phrase::Kind::kName || verb >= gap.end) return {};
  if (gap.words[verb - 1].is_followed || !is_finite_verb(gap.words[verb].core)) return {};
  const bool is_thing = gap.phrase.first == 1 || random.chance(0.4);  // "The" stands before it
  std::string text(is_thing ? "what" : "who");
  append(text, joined(gap.words, verb, gap.end));
  return text;
}

/// "In 1990 Rome was sacked": "when was Rome sacked".
std::string fronted_form(const Gap& gap, std::string_view word) {
  size_t auxiliary = gap.phrase.end;
  while (auxiliary < gap.end && !is_auxiliary(gap.words[auxiliary].core)) ++auxiliary;
  std::string text(word);
  if (auxiliary < gap.end) append(text, gap.words[auxiliary].core);
  append(text, joined(gap.words, gap.phrase.end, auxiliary));
  if (auxiliary < gap.end) append(text, joined(gap.words, auxiliary + 1, gap.end));
  return text;
}

/// "when was Rome sacked by the Goths": the auxiliary comes to the front. Empty if there is none.
std::string inverted_form(const Gap& gap, std::string_view word) {
  size_t auxiliary = gap.begin;
  while (auxiliary < gap.phrase.first && !is_auxiliary(gap.words[auxiliary].core)) ++auxiliary;
  const size_t subject_words = auxiliary - gap.begin;
  if (auxiliary == gap.phrase.first || subject_words == 0 || subject_words > kMaxSubjectWords)
    return {};
  size_t left = gap.phrase.first;
  // "in 1990" goes as a whole; a preposition that the answer hangs on stays behind: "by who".
  const std::string_view before = gap.before();
  const bool drops = gap.phrase.kind != Phrase::Kind::kNumber && is_preposition(before) &&
                     left > auxiliary + 1 &&
                     (word == "when" || word == "what year" || word == "where");
  if (drops) --left;
  std::string text(word);
  if (gap.phrase.kind == Phrase::Kind::kNumber) append(text, word_behind(gap.words, gap.phrase));
  append(text, gap.words[auxiliary].core);
  append(text, told(gap, gap.begin, auxiliary));
  append(text, joined(gap.words, auxiliary + 1, left));
  const size_t right =
      gap.phrase.kind == Phrase::Kind::kNumber ? gap.phrase.end + 1 : gap.phrase.end;
  append(text, joined(gap.words, std::min(right, gap.end), gap.end));
  return text;
}

/// True where nothing stands behind the phrase and what it counts, or "when" says where it stood.
bool is_place_told(const Gap& gap) {
  if (gap.phrase.kind == Phrase::Kind::kDate || gap.phrase.kind == Phrase::Kind::kYear) return true;
  const size_t counted = gap.phrase.kind == Phrase::Kind::kNumber ? 1 : 0;
  return gap.end <= gap.phrase.end + counted;
}

/// "Rome was sacked by the Goths when".
std::string in_place_form(const Gap& gap, std::string_view word) {
  std::string text = told(gap, gap.begin, gap.phrase.first);
  append(text, word);
  append(text, joined(gap.words, gap.phrase.end, gap.end));
  return text;
}

bool joins_clauses(std::string_view word) {
  constexpr std::array<std::string_view, 10> kWords{"and",   "but",  "or",   "where", "which",
                                                    "while", "that", "when", "who",   "as"};
  return std::find(kWords.begin(), kWords.end(), word) != kWords.end();
}

/// The words around a phrase up to marks that end a clause, so many behind it. False if the clause
/// does not say what it is about.
bool find_clause(Gap& gap) {
  const auto& words = gap.words;
  const bool is_fronted = gap.phrase.first == 1 && is_preposition(ascii_lower(words[0].core));
  gap.begin = gap.phrase.first;
  while (gap.begin > 0 && !words[gap.begin - 1].is_followed) --gap.begin;
  if (gap.begin > 0 && gap.begin < gap.phrase.first && joins_clauses(words[gap.begin].core)) {
    ++gap.begin;
  }
  if (gap.phrase.first - gap.begin < 3 || is_auxiliary(words[gap.begin].core)) gap.begin = 0;
  if (gap.phrase.first - gap.begin > kMaxWordsBefore) return false;
  // What stands behind a comma and its name is a part of a place or of a list.
  if (gap.phrase.first > 0 && !is_fronted && words[gap.phrase.first - 1].is_followed) return false;
  gap.end = gap.phrase.end;
  const auto goes_on = [&] {
    const bool is_front_comma = is_fronted && gap.end == gap.phrase.end;
    return gap.end < words.size() && gap.end - gap.phrase.end < kMaxWordsBehind &&
           (is_front_comma || !words[gap.end - 1].is_followed);
  };
  while (goes_on()) ++gap.end;
  return true;
}

bool begins_with_pronoun(const std::vector<PlainWord>& words) {
  const std::string_view first = words[0].core;
  return first == "He" || first == "She" || first == "It" || first == "They" || first == "His" ||
         first == "Her" || first == "Its" || first == "Their";
}

}  // namespace

std::optional<MadeQuestion> sentence_question(std::string_view title, std::string_view sentence,
                                              const SentenceQuestionOptions& options,
                                              Random& random) {
  const auto words = plain_words(sentence);
  if (words.size() < kMinSentenceWords || words.size() > kMaxSentenceWords) return std::nullopt;
  std::vector<Phrase> phrases;
  for (size_t i = 0; i < words.size();) {
    const auto phrase = phrase_at(words, i);
    if (phrase && text_of(words, *phrase).size() <= kMaxAnswerBytes &&
        options.may_ask(words, *phrase)) {
      phrases.push_back(*phrase);
    }
    i = phrase ? phrase->end : i + 1;
  }
  if (phrases.empty()) return std::nullopt;
  Gap gap{.words = words, .phrase = random.pick(phrases), .subject = {}};
  if (begins_with_pronoun(words)) gap.subject = plain_title(title);
  if (!find_clause(gap)) return std::nullopt;
  MadeQuestion made{.text = {}, .answer = std::string(text_of(words, gap.phrase))};
  const std::string first = ascii_lower(words[0].core);
  if (gap.phrase.first == 0 || (gap.phrase.first == 1 && first == "the")) {
    made.text = subject_form(gap, random);
    if (made.text.empty()) return std::nullopt;
  } else {
    const std::string_view word = question_word(gap, random);
    const bool is_time = word == "when" || word == "what year";
    if (gap.phrase.first == 1 && is_preposition(first)) {
      if (!is_time) return std::nullopt;
      made.text = fronted_form(gap, word);
    } else if (!is_preposition(first) && random.chance(0.75) &&
               (!options.keeps_place || is_place_told(gap))) {
      made.text = inverted_form(gap, word);
    }
    if (made.text.empty()) made.text = in_place_form(gap, word);
  }
  const bool gives_itself_away =
      made.answer == gap.subject || made.text.find(made.answer) != std::string::npos;
  if (gives_itself_away || plain_words(made.text).size() < kMinSentenceWords - 1)
    return std::nullopt;
  return made;
}

std::optional<MadeQuestion> cloze_question(std::string_view title, std::string_view text,
                                           Random& random) {
  const auto sentences = sentences_of(text);
  if (sentences.empty()) return std::nullopt;
  const SentenceQuestionOptions any{
      .may_ask = [](const std::vector<PlainWord>&, const Phrase&) { return true; }};
  for (int i = 0; i < kMaxTries; ++i) {
    if (auto made = sentence_question(title, random.pick(sentences), any, random)) return made;
  }
  return std::nullopt;
}

}  // namespace msa::samples
