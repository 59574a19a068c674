#include "msa/samples/invented_facts.h"

#include <algorithm>
#include <utility>

#include "msa/corpus/sentence_end.h"
#include "msa/samples/invented_relations.h"
#include "msa/samples/invented_words.h"
#include "msa/samples/phrases.h"
#include "msa/samples/renaming.h"

namespace msa::samples {
namespace {

constexpr int kMaxTries = 8;
constexpr int64_t kMaxOfGroup = 6;
constexpr double kNewRelationShare = 0.5;  // of facts about names that are alike

}  // namespace

std::string question_about(const InventedFact& fact, Random& random) {
  return question_of(fact.relation, fact.name, random);
}

void FactInventor::begin_group(Random& random) {
  const double way = random.uniform();
  group_ = way < 0.3    ? Group::kAlone
           : way < 0.55 ? Group::kRelation
           : way < 0.85 ? Group::kAlikeNames
                        : Group::kName;
  left_ = group_ == Group::kAlone ? 1 : random.between(2, kMaxOfGroup);
  name_ = invented_name(random);
  relation_ = random.below(num_relations());
}

/// Nothing where it was told before, or where name and value have each other in them.
std::optional<InventedFact> FactInventor::drawn(Random& random) const {
  InventedFact fact{.name = name_, .relation = relation_, .answer = {}, .sentence = {}};
  if (group_ == Group::kRelation) fact.name = invented_name(random);
  if (group_ == Group::kAlikeNames) {
    fact.name = alike_name(name_, random);
    if (random.chance(kNewRelationShare)) fact.relation = random.below(num_relations());
  }
  if (group_ == Group::kName) fact.relation = random.below(num_relations());
  const auto told = told_.find(ascii_lower(fact.name));
  const bool is_told = told != told_.end() && std::ranges::any_of(told->second, [&](int64_t one) {
                         return !are_told_apart(one, fact.relation);
                       });
  if (is_told) return std::nullopt;
  fact.answer = invented_value(value_kind_of(fact.relation), random);
  fact.sentence = sentence_of(fact.relation, fact.name, fact.answer, random);
  const auto stands_once = [&](std::string_view words) {
    const size_t place = fact.sentence.find(words);
    return place == fact.sentence.rfind(words) && has_words(fact.sentence, words);
  };
  if (!stands_once(fact.name) || !stands_once(fact.answer)) return std::nullopt;
  return fact;
}

InventedFact FactInventor::next(Random& random) {
  for (int tries = 0;; ++tries) {
    if (left_ == 0 || tries == kMaxTries) {
      begin_group(random);
      tries = 0;
    }
    auto fact = drawn(random);
    if (!fact) continue;
    --left_;
    told_[ascii_lower(fact->name)].push_back(fact->relation);
    return std::move(*fact);
  }
}

std::string with_sentence(std::string_view text, std::string_view sentence, Random& random) {
  std::vector<size_t> places;  // where a sentence begins
  for (const std::string_view one : sentences_of(text)) {
    places.push_back(static_cast<size_t>(one.data() - text.data()));
  }
  const auto size = static_cast<int64_t>(text.size());
  if (places.empty() || corpus::ends_sentence(text, size)) places.push_back(text.size());
  const size_t place = random.pick(places);
  std::string out(text.substr(0, place));
  if (place == text.size() && !out.empty()) out += ' ';
  out += sentence;
  if (place < text.size()) out += ' ';
  return out += text.substr(place);
}

}  // namespace msa::samples
