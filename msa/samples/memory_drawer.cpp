#include "msa/samples/memory_drawer.h"

#include <algorithm>
#include <utility>

#include "msa/base/error.h"
#include "msa/samples/document_ids.h"
#include "msa/samples/facts.h"
#include "msa/samples/phrases.h"
#include "msa/samples/renaming.h"

namespace msa::samples {
namespace {

/// Documents in a row that do not fit or are there already, before a memory is taken for full.
constexpr int kMaxMisses = 16;

constexpr size_t kMinCommonBytes = 6;  // of two titles of neighbours
constexpr double kOtherGoldShare = 0.5;
constexpr double kLeftOutShare = 0.2;  // of groups, where refusals read what is alike

bool are_alike(const TrainCorpus& corpus, int32_t a, int32_t b) {
  if (corpus.source_of(a) != corpus.source_of(b)) return false;
  if (corpus.document_name(a) == corpus.document_name(b)) return true;
  const std::string_view first = corpus.title(a);
  const std::string_view second = corpus.title(b);
  const size_t shorter = std::min(first.size(), second.size());
  size_t common = 0;
  while (common < shorter && first[common] == second[common]) ++common;
  return common >= kMinCommonBytes && 2 * common >= shorter;
}

}  // namespace

bool DrawnMemory::add(const ShownDocument& shown) {
  const auto place = static_cast<int32_t>(documents_.size());
  if (!places_.emplace(shown.document, place).second) return false;
  documents_.push_back(shown);
  names_.insert(corpus_.document_name(shown.document));
  ++titles_[plain_title(corpus_.title(shown.document))];
  return true;
}

bool DrawnMemory::add(ShownDocument shown, ToldFact told) {
  if (place_of(shown.document) >= 0) return false;
  const auto place = static_cast<int32_t>(documents_.size());
  shown.told = &told_.emplace(place, std::move(told)).first->second.text;
  telling_.push_back(place);
  return add(shown);
}

const InventedFact* DrawnMemory::fact_of(int32_t place) const {
  const auto found = told_.find(place);
  return found == told_.end() ? nullptr : &found->second.fact;
}

int32_t DrawnMemory::place_of(int32_t document) const {
  const auto found = places_.find(document);
  return found == places_.end() ? -1 : found->second;
}

bool DrawnMemory::speaks_of(int32_t document) const {
  const std::string_view title = plain_title(corpus_.title(document));
  return names_.contains(corpus_.document_name(document)) ||
         (!title.empty() && titles_.contains(title));
}

int64_t DrawnMemory::num_of_title(int32_t document) const {
  const auto found = titles_.find(plain_title(corpus_.title(document)));
  return found == titles_.end() ? 0 : found->second;
}

struct MemoryDrawer::Filling {
  DrawnMemory memory;
  DocumentIds ids;
  int64_t tokens_left = 0;
  FactInventor inventor;
};

MemoryDrawer::MemoryDrawer(const TrainCorpus& corpus, const Mixture& mixture)
    : corpus_(corpus),
      mixture_(mixture),
      chains_(corpus, [this](int32_t document) { return may_enter(document); }) {
  double end = 0;
  for (int64_t source = 0; source < corpus.num_sources(); ++source) {
    std::vector<int32_t> entering;
    for (const int32_t document : corpus.documents_of_source(source)) {
      if (!may_enter(document)) continue;
      entering.push_back(document);
    }
    end += weight_of(source) * static_cast<double>(entering.size());
    source_ends_.push_back(end);
    documents_.push_back(std::move(entering));
  }
  MSA_CHECK(end > 0,
            "the mixture leaves no document to draw: all weights are 0, or all documents "
            "of the sources are held back");
}

double MemoryDrawer::weight_of(int64_t source) const {
  return mixture_.sources.empty() ? 1 : mixture_.sources[static_cast<size_t>(source)].documents;
}

bool MemoryDrawer::may_enter(int32_t document) const {
  return !corpus_.is_held_back(document) && !corpus_.is_repeated(document) &&
         weight_of(corpus_.source_of(document)) > 0;
}

int32_t MemoryDrawer::draw(Random& random) const {
  const double point = random.uniform() * source_ends_.back();
  auto source = static_cast<size_t>(
      std::upper_bound(source_ends_.begin(), source_ends_.end(), point) - source_ends_.begin());
  while (source >= documents_.size() || documents_[source].empty()) --source;  // rounding
  return random.pick(documents_[source]);
}

bool MemoryDrawer::add(int32_t document, Filling& filling, Random& random) const {
  if (!may_enter(document) || filling.memory.place_of(document) >= 0) return false;
  if (std::ranges::find(filling.memory.left_out, document, &LeftOut::document) !=
      filling.memory.left_out.end()) {
    return false;
  }
  const ShownDocument shown{.document = document,
                            .id = filling.ids.draw(random),
                            .title = random.chance(mixture_.hidden_title_share)
                                         ? TrainCorpus::Title::kHidden
                                         : TrainCorpus::Title::kShown};
  if (mixture_.invented_share > 0 && random.chance(mixture_.invented_share) &&
      add_telling(shown, filling, random)) {
    return true;
  }
  const int64_t digits = static_cast<int64_t>(std::to_string(shown.id).size());
  const int64_t tokens = corpus_.document_tokens(document, shown.title, digits);
  if (tokens > filling.tokens_left) return false;
  filling.tokens_left -= tokens;
  return filling.memory.add(shown);
}

/// With a fact about an invented name in its text, where there is room for that in a document and
/// in the memory.
bool MemoryDrawer::add_telling(ShownDocument shown, Filling& filling, Random& random) const {
  const std::string_view text = corpus_.text(shown.document);
  InventedFact fact = filling.inventor.next(random);
  if (has_words(ascii_lower(text), ascii_lower(fact.name))) return false;
  std::string told = with_sentence(text, fact.sentence, random);
  shown.told = &told;
  const auto text_tokens = static_cast<int64_t>(corpus_.layout().tokenizer().encode(told).size());
  std::vector<int32_t> tokens;
  append_document(corpus_, shown, tokens);
  const auto num_tokens = static_cast<int64_t>(tokens.size());
  if (text_tokens > corpus_.max_document_tokens() || num_tokens > filling.tokens_left) return false;
  filling.tokens_left -= num_tokens;
  return filling.memory.add(shown, {.fact = std::move(fact), .text = std::move(told)});
}

/// True if a document of it is new.
bool MemoryDrawer::add_group(std::span<const int32_t> group, Filling& filling,
                             Random& random) const {
  const bool leaves_out = mixture_.no_answer_similar_share > 0 && random.chance(kLeftOutShare);
  if (leaves_out && group.size() > 1 && filling.memory.place_of(group[0]) < 0) {
    const std::span<const int32_t> others = group.subspan(1);
    filling.memory.left_out.push_back({group[0], {others.begin(), others.end()}});
  }
  bool is_new = false;
  for (const int32_t document : group) is_new = add(document, filling, random) || is_new;
  return is_new;
}

void MemoryDrawer::add_neighbours(int32_t document, Filling& filling, Random& random) const {
  for (int64_t i = 1; i <= mixture_.num_neighbours; ++i) {
    const int64_t neighbour = document + i;
    if (neighbour >= corpus_.num_documents()) return;
    if (!are_alike(corpus_, document, static_cast<int32_t>(neighbour))) return;
    add(static_cast<int32_t>(neighbour), filling, random);
  }
}

/// What else a question needs that the document supports.
void MemoryDrawer::add_other_gold(int32_t document, Filling& filling, Random& random) const {
  const auto questions = corpus_.questions_of(document);
  if (questions.empty()) return;
  const TrainQuestion question = corpus_.question(random.pick(questions));
  const bool needs_others = question.needs_all_gold && question.documents.size() > 1;
  if (!needs_others || !random.chance(kOtherGoldShare)) return;
  for (const int32_t gold : question.documents) add(gold, filling, random);
}

void MemoryDrawer::add_chain(int32_t document, Filling& filling, Random& random) const {
  if (chains_.is_for_evaluation(document)) return;
  auto chain = chains_.make(document, random);
  if (!chain) return;
  add(chain->second, filling, random);
  if (filling.memory.place_of(chain->second) < 0) return;
  filling.memory.chains.push_back(std::move(*chain));
}

DrawnMemory MemoryDrawer::draw_memory(std::span<const std::vector<int32_t>> similar,
                                      Random& random) const {
  Filling filling{.memory = DrawnMemory(corpus_),
                  .ids = DocumentIds(mixture_.ids_max_digits),
                  .tokens_left = mixture_.memory_tokens,
                  .inventor = {}};
  for (int misses = 0; misses < kMaxMisses;) {
    if (!similar.empty() && random.chance(mixture_.similar_share)) {
      misses = add_group(random.pick(similar), filling, random) ? 0 : misses + 1;
      continue;
    }
    const int32_t document = draw(random);
    if (!add(document, filling, random)) {
      ++misses;
      continue;
    }
    misses = 0;
    if (random.chance(mixture_.neighbour_share)) add_neighbours(document, filling, random);
    add_other_gold(document, filling, random);
    if (random.chance(mixture_.chain_share)) add_chain(document, filling, random);
  }
  MSA_CHECK(!filling.memory.documents().empty(), "no document fits into a memory of ",
            mixture_.memory_tokens, " tokens");
  return std::move(filling.memory);
}

}  // namespace msa::samples
