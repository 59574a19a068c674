#include "msa/samples/chain_maker.h"

#include <vector>

#include "msa/samples/facts.h"

namespace msa::samples {
namespace {

constexpr int64_t kEvaluationShare = 32;  // one in so many

}  // namespace

ChainMaker::ChainMaker(const TrainCorpus& corpus, const std::function<bool(int32_t)>& may_enter)
    : corpus_(corpus) {
  for (int64_t i = 0; i < corpus.num_documents(); ++i) {
    const auto document = static_cast<int32_t>(i);
    if (may_enter(document)) by_title_.emplace(plain_title(corpus.title(document)), document);
  }
  by_title_.erase(std::string_view());
}

bool ChainMaker::is_for_evaluation(int32_t document) const {
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (const char byte : corpus_.document_name(document)) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001B3;
  }
  return Random(hash, {}).below(kEvaluationShare) == 0;
}

std::optional<ChainQuestion> ChainMaker::make(int32_t document, Random& random) const {
  const std::string_view title = corpus_.title(document);
  for (const Fact& fact : facts_of(title, corpus_.text(document))) {
    const std::string subject = description_of(fact, plain_title(title));
    if (subject.empty()) continue;
    const auto found = by_title_.find(fact.answer);
    if (found == by_title_.end() || found->second == document) continue;
    auto told = facts_of(corpus_.title(found->second), corpus_.text(found->second));
    // "Who is the director of X" asks for X alone.
    std::erase_if(told, [](const Fact& target) { return target.is_definition; });
    if (told.empty()) continue;
    const Fact& target = random.pick(told);
    return ChainQuestion{.first = document,
                         .second = found->second,
                         .text = question_of(target, subject, random),
                         .answer = target.answer};
  }
  return std::nullopt;
}

}  // namespace msa::samples
