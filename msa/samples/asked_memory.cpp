#include "msa/samples/asked_memory.h"

#include <string>

#include "msa/base/error.h"

namespace msa::samples {

AskedMemory::AskedMemory(const TrainCorpus& corpus, const text::PromptLayout& layout,
                         int64_t max_tokens)
    : corpus_(corpus), layout_(layout), max_tokens_(max_tokens) {
  MSA_CHECK(max_tokens >= 1, "a memory must have room for 1 token or more, got ", max_tokens);
  batch_.head = layout.prompt_head().tokens;
}

std::optional<int32_t> AskedMemory::place_of(int32_t document) const {
  const auto found = places_.find(document);
  if (found == places_.end()) return std::nullopt;
  return found->second;
}

std::optional<int32_t> AskedMemory::add(int32_t document) {
  if (const auto found = place_of(document)) return found;
  const auto place = static_cast<int32_t>(documents_.size());
  const int64_t id = id_of(place);
  const auto digits = static_cast<int64_t>(std::to_string(id).size());
  const int64_t length = corpus_.document_tokens(document, TrainCorpus::Title::kShown, digits);
  if (batch_.documents.num_tokens() + length > max_tokens_) return std::nullopt;
  std::vector<int32_t> tokens;
  corpus_.append_document(document, id, TrainCorpus::Title::kShown, tokens);
  batch_.documents.add(tokens, 0);
  documents_.push_back(document);
  places_.emplace(document, place);
  return place;
}

bool AskedMemory::ask(const TrainQuestion& question) {
  std::vector<int32_t> gold;
  for (const int32_t document : question.documents) {
    const auto place = add(document);
    if (!place) return false;
    gold.push_back(*place);
  }
  const text::Prompt prompt = layout_.question(question.text);
  const auto first = static_cast<int32_t>(batch_.sequences.num_tokens());
  batch_.sequences.add(prompt.tokens, static_cast<int32_t>(layout_.question_start()));
  for (size_t i = 0; i < prompt.roles.size(); ++i) {
    if (prompt.roles[i] != text::kQuestionRole) continue;
    batch_.query_rows.push_back(first + static_cast<int32_t>(i));
  }
  batch_.query_offsets.push_back(static_cast<int32_t>(batch_.query_rows.size()));
  batch_.gold.insert(batch_.gold.end(), gold.begin(), gold.end());
  batch_.gold_offsets.push_back(static_cast<int32_t>(batch_.gold.size()));
  batch_.names.emplace_back(question.name);
  ++batch_.num_asking;
  return true;
}

}  // namespace msa::samples
