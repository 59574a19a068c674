#include "msa/samples/facts.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "msa/samples/phrases.h"

namespace msa::samples {

/// `{}` stands for the subject, or for what the answer describes.
struct Relation {
  enum class Wanted { kName, kPlace, kDate, kNumber, kDefinition };

  std::array<std::string_view, 2> wording;  // words that stand before the answer
  Wanted wanted;
  std::array<std::string_view, 4> questions;  // as many as there are
  std::string_view description;
};

namespace {

using Wanted = Relation::Wanted;

constexpr size_t kMaxSentences = 3;
constexpr size_t kSubjectWords = 10;  // that a sentence's subject is within
constexpr size_t kMaxDefinitionWords = 12;
constexpr size_t kMaxWordsBeforeDate = 6;
constexpr size_t kMaxAnswerBytes = 100;

constexpr std::array<Relation, 56> kRelations{{
    {{"directed", "by"},
     Wanted::kName,
     {"who directed {}", "who is the director of {}", "{} director", "who was {} directed by"},
     "the director of {}"},
    {{"written", "by"},
     Wanted::kName,
     {"who wrote {}", "who is the author of {}", "{} author", "who was {} written by"},
     "the author of {}"},
    {{"produced", "by"},
     Wanted::kName,
     {"who produced {}", "who is the producer of {}", "{} producer"},
     "the producer of {}"},
    {{"composed", "by"},
     Wanted::kName,
     {"who composed {}", "who is the composer of {}"},
     "the composer of {}"},
    {{"designed", "by"},
     Wanted::kName,
     {"who designed {}", "who was the architect of {}"},
     "the designer of {}"},
    {{"created", "by"},
     Wanted::kName,
     {"who created {}", "who is the creator of {}"},
     "the creator of {}"},
    {{"developed", "by"},
     Wanted::kName,
     {"who developed {}", "who made {}", "which company made {}"},
     "the developer of {}"},
    {{"manufactured", "by"},
     Wanted::kName,
     {"who made {}", "who makes {}", "which company made {}"},
     "the maker of {}"},
    {{"built", "by"}, Wanted::kName, {"who built {}", "who was {} built by"}, "the builder of {}"},
    {{"published", "by"},
     Wanted::kName,
     {"who published {}", "{} publisher", "which company published {}"},
     "the publisher of {}"},
    {{"founded", "by"},
     Wanted::kName,
     {"who founded {}", "who is the founder of {}", "{} founder", "who started {}"},
     "the founder of {}"},
    {{"established", "by"},
     Wanted::kName,
     {"who established {}", "who founded {}"},
     "the founder of {}"},
    {{"recorded", "by"},
     Wanted::kName,
     {"who recorded {}", "who sang {}", "who sings {}"},
     "the artist who recorded {}"},
    {{"performed", "by"},
     Wanted::kName,
     {"who performed {}", "who sang {}"},
     "the performer of {}"},
    {{"album", "by"},
     Wanted::kName,
     {"who released {}", "whose album is {}", "who made the album {}"},
     "the artist of the album {}"},
    {{"hosted", "by"},
     Wanted::kName,
     {"who hosts {}", "who is the host of {}", "{} host"},
     "the host of {}"},
    {{"presented", "by"},
     Wanted::kName,
     {"who presents {}", "who is the presenter of {}"},
     "the presenter of {}"},
    {{"owned", "by"},
     Wanted::kName,
     {"who owns {}", "who is the owner of {}", "{} owner"},
     "the owner of {}"},
    {{"operated", "by"}, Wanted::kName, {"who operates {}", "who runs {}"}, "the operator of {}"},
    {{"discovered", "by"},
     Wanted::kName,
     {"who discovered {}", "who first found {}"},
     "the discoverer of {}"},
    {{"invented", "by"},
     Wanted::kName,
     {"who invented {}", "who is the inventor of {}"},
     "the inventor of {}"},
    {{"illustrated", "by"}, Wanted::kName, {"who illustrated {}"}, "the illustrator of {}"},
    {{"played", "by"},
     Wanted::kName,
     {"who plays {}", "who played {}", "what actor plays {}"},
     "the actor who played {}"},
    {{"portrayed", "by"},
     Wanted::kName,
     {"who plays {}", "who portrays {}"},
     "the actor who portrayed {}"},
    {{"won", "by"},
     Wanted::kName,
     {"who won {}", "who was the winner of {}", "{} winner"},
     "the winner of {}"},
    {{"starring", ""},
     Wanted::kName,
     {"who stars in {}", "who starred in {}", "{} cast", "who is in {}"},
     "the star of {}"},
    {{"named", "after"},
     Wanted::kName,
     {"who is {} named after", "what is {} named after"},
     "the namesake of {}"},
    {{"son", "of"},
     Wanted::kName,
     {"whose son was {}", "who was the father of {}"},
     "the parent of {}"},
    {{"daughter", "of"}, Wanted::kName, {"whose daughter was {}"}, "the parent of {}"},
    {{"married", "to"}, Wanted::kName, {"who was {} married to", "{} spouse"}, "the spouse of {}"},
    {{"capital", "of"},
     Wanted::kName,
     {"what is {} the capital of"},
     "the region whose capital is {}"},
    {{"born", "in"},
     Wanted::kPlace,
     {"where was {} born", "{} birthplace", "where is {} from"},
     "the place where {} was born"},
    {{"located", "in"},
     Wanted::kPlace,
     {"where is {} located", "where is {}", "what is the location of {}"},
     "the place where {} lies"},
    {{"situated", "in"},
     Wanted::kPlace,
     {"where is {} situated", "where is {}"},
     "the place where {} lies"},
    {{"based", "in"},
     Wanted::kPlace,
     {"where is {} based", "where is the headquarters of {}"},
     "the place where {} is based"},
    {{"headquartered", "in"},
     Wanted::kPlace,
     {"where is {} headquartered", "{} headquarters"},
     "the place where {} is based"},
    {{"held", "in"}, Wanted::kPlace, {"where was {} held", "where did {} take place"}, ""},
    {{"held", "at"}, Wanted::kPlace, {"where was {} held", "where did {} take place"}, ""},
    {{"native", "to"}, Wanted::kPlace, {"where is {} native to", "where is {} found"}, ""},
    {{"founded", ""},
     Wanted::kDate,
     {"when was {} founded", "what year was {} founded", "when did {} begin"},
     ""},
    {{"established", ""},
     Wanted::kDate,
     {"when was {} established", "what year was {} established"},
     ""},
    {{"built", ""}, Wanted::kDate, {"when was {} built", "what year was {} built"}, ""},
    {{"opened", ""}, Wanted::kDate, {"when did {} open", "when was {} opened"}, ""},
    {{"released", ""},
     Wanted::kDate,
     {"when was {} released", "when did {} come out", "{} release date"},
     ""},
    {{"published", ""}, Wanted::kDate, {"when was {} published", "what year was {} published"}, ""},
    {{"formed", ""}, Wanted::kDate, {"when was {} formed", "when did {} form"}, ""},
    {{"launched", ""}, Wanted::kDate, {"when was {} launched", "when did {} start"}, ""},
    {{"premiered", ""}, Wanted::kDate, {"when did {} premiere", "when did {} first air"}, ""},
    {{"introduced", ""}, Wanted::kDate, {"when was {} introduced"}, ""},
    {{"completed", ""}, Wanted::kDate, {"when was {} completed", "when was {} finished"}, ""},
    {{"incorporated", ""}, Wanted::kDate, {"when was {} incorporated"}, ""},
    {{"born", ""},
     Wanted::kDate,
     {"when was {} born", "{} date of birth", "what year was {} born",
      "when is the birthday of {}"},
     ""},
    {{"died", ""}, Wanted::kDate, {"when did {} die", "{} date of death"}, ""},
    {{"population", "of"},
     Wanted::kNumber,
     {"what is the population of {}", "how many people live in {}", "{} population"},
     ""},
    {{"population", "was"},
     Wanted::kNumber,
     {"what is the population of {}", "how many people live in {}", "{} population"},
     ""},
    {{"", ""},
     Wanted::kDefinition,
     {"what is {}", "what was {}", "define {}", "tell me about {}"},
     ""},
}};
constexpr const Relation& kDefinition = kRelations.back();

std::string filled(std::string_view form, std::string_view subject) {
  std::string text(form);
  const size_t place = text.find("{}");
  return text.replace(place, 2, subject);
}

bool is_wording(const std::vector<PlainWord>& words, size_t place, const Relation& relation) {
  for (size_t i = 0; i < relation.wording.size() && !relation.wording[i].empty(); ++i) {
    if (place + i >= words.size() || words[place + i].core != relation.wording[i]) return false;
  }
  return true;
}

/// "Rome, Italy": names with commas between.
Phrase with_parts(const std::vector<PlainWord>& words, Phrase phrase) {
  while (phrase.end < words.size() && words[phrase.end - 1].whole.ends_with(',')) {
    const auto more = name_at(words, phrase.end);
    if (!more) break;
    phrase.end = more->end;
  }
  return phrase;
}

std::optional<Phrase> answer_behind(const std::vector<PlainWord>& words, size_t place,
                                    Wanted wanted) {
  if (wanted == Wanted::kDate) {
    for (size_t i = place; i < std::min(words.size(), place + kMaxWordsBeforeDate); ++i) {
      if (auto date = date_at(words, i)) return date;
    }
    return std::nullopt;
  }
  if (place < words.size() && (words[place].core == "the" || words[place].core == "about")) ++place;
  if (place >= words.size() || words[place - 1].is_followed) return std::nullopt;
  if (wanted == Wanted::kNumber) {
    const char first = words[place].core.empty() ? ' ' : words[place].core[0];
    if (first < '0' || first > '9') return std::nullopt;
    return Phrase{.first = place, .end = place + 1, .kind = Phrase::Kind::kNumber};
  }
  auto name = name_at(words, place);
  if (name && wanted == Wanted::kPlace) return with_parts(words, *name);
  return name;
}

/// True for a word that adds to a noun what defines it no longer.
bool begins_clause(std::string_view word) {
  constexpr std::array<std::string_view, 26> kWords{
      "who",      "which",     "that",      "where",  "and",      "written",  "located",
      "situated", "based",     "released",  "born",   "directed", "produced", "recorded",
      "created",  "developed", "published", "owned",  "known",    "founded",  "held",
      "built",    "made",      "found",     "formed", "used"};
  const bool is_listed = std::find(kWords.begin(), kWords.end(), word) != kWords.end();
  return is_listed || (word != "of" && is_preposition(word));
}

/// What stands behind "is a", "was the", up to where another clause begins.
std::optional<Phrase> definition(const std::vector<PlainWord>& words) {
  for (size_t i = 1; i + 2 < std::min<size_t>(words.size(), 40); ++i) {
    const std::string_view verb = words[i].core;
    const std::string_view article = words[i + 1].core;
    if (verb != "is" && verb != "was" && verb != "are" && verb != "were") continue;
    if (article != "a" && article != "an" && article != "the" && article != "one") continue;
    size_t end = i + 2;
    while (end < words.size() && end - i <= kMaxDefinitionWords && !words[end - 1].is_followed) {
      const std::string_view core = words[end].core;
      if (words[end].whole.front() == '(') break;
      if (end > i + 2 && begins_clause(core)) break;
      ++end;
    }
    if (end < i + 3) return std::nullopt;
    return Phrase{.first = i + 1, .end = end};
  }
  return std::nullopt;
}

/// True if a sentence speaks of the title early: another subject's facts are not the title's.
bool names_subject(const std::vector<PlainWord>& words, std::string_view subject) {
  const auto title = plain_words(subject);
  for (const PlainWord& word : std::span(words).first(std::min(words.size(), kSubjectWords))) {
    const auto is_word = [&](const PlainWord& of_title) {
      return of_title.core == word.core && (of_title.core.size() > 3 || title.size() == 1);
    };
    if (!word.core.empty() && std::any_of(title.begin(), title.end(), is_word)) return true;
  }
  return false;
}

/// "born", or a sentence that begins with a person.
bool tells_of_person(const std::vector<PlainWord>& words, bool is_first) {
  const std::string_view first = words.empty() ? std::string_view() : words[0].core;
  if (first == "He" || first == "She" || first == "His" || first == "Her") return true;
  return is_first && std::any_of(words.begin(), words.end(),
                                 [](const PlainWord& word) { return word.core == "born"; });
}

}  // namespace

std::string_view plain_title(std::string_view title) {
  if (!title.ends_with(')')) return title;
  const size_t place = title.rfind(" (");
  return place == std::string_view::npos || place == 0 ? title : title.substr(0, place);
}

std::vector<Fact> facts_of(std::string_view title, std::string_view text) {
  std::vector<Fact> facts;
  const std::string_view subject = plain_title(title);
  if (subject.empty()) return facts;
  const auto sentences = sentences_of(text.substr(0, std::min<size_t>(text.size(), 1200)));
  bool is_person = false;
  const auto add = [&](const std::vector<PlainWord>& words, const Phrase& phrase,
                       const Relation& relation) {
    const std::string_view answer = text_of(words, phrase);
    if (answer.empty() || answer.size() > kMaxAnswerBytes || answer == subject) return;
    facts.push_back({.answer = std::string(answer),
                     .relation = &relation,
                     .is_definition = &relation == &kDefinition});
  };
  for (size_t s = 0; s < std::min(sentences.size(), kMaxSentences); ++s) {
    const auto words = plain_words(sentences[s]);
    if (s == 0) {
      if (!names_subject(words, subject)) return facts;
      if (const auto phrase = definition(words)) add(words, *phrase, kDefinition);
    }
    for (size_t i = 0; i < words.size(); ++i) {
      for (const Relation& relation : std::span(kRelations).first(kRelations.size() - 1)) {
        if (!is_wording(words, i, relation)) continue;
        const size_t length = relation.wording[1].empty() ? 1 : 2;
        if (const auto phrase = answer_behind(words, i + length, relation.wanted)) {
          add(words, *phrase, relation);
        }
      }
    }
    is_person = is_person || tells_of_person(words, s == 0);
  }
  for (Fact& fact : facts) fact.is_person = is_person;
  return facts;
}

std::string question_of(const Fact& fact, std::string_view subject, Random& random) {
  const auto& questions = fact.relation->questions;
  const auto count = std::find(questions.begin(), questions.end(), "") - questions.begin();
  if (fact.is_definition && fact.is_person) {
    return filled(random.chance(0.8) ? "who is {}" : "tell me about {}", subject);
  }
  return filled(questions[static_cast<size_t>(random.below(count))], subject);
}

std::string description_of(const Fact& fact, std::string_view subject) {
  if (fact.relation->description.empty()) return {};
  return filled(fact.relation->description, subject);
}

}  // namespace msa::samples
