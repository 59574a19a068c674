#include "msa/samples/reading_batch.h"

#include <string>
#include <vector>

#include "msa/samples/question_drawer.h"
#include "msa/samples/sequence_writer.h"

namespace msa::samples {
namespace {

/// The texts that answer, as the memory has them; empty where one is missing.
std::vector<ShownDocument> texts_of(const TrainQuestion& question, const AskedMemory& memory) {
  std::vector<ShownDocument> texts;
  for (const int32_t document : question.documents) {
    const auto place = memory.place_of(document);
    if (!place) return {};
    texts.push_back({.document = document, .id = AskedMemory::id_of(*place)});
    if (!question.needs_all_gold) break;
  }
  return texts;
}

}  // namespace

Batch reading_batch(const TrainCorpus& corpus, const text::PromptLayout& layout,
                    const AskedMemory& memory, std::span<const int32_t> questions,
                    int64_t max_sequence_tokens) {
  Batch batch;
  batch.head = layout.prompt_head().tokens;
  batch.documents = memory.batch().documents;
  SequenceWriter writer(layout, corpus);
  for (const int32_t number : questions) {
    const TrainQuestion question = corpus.question(number);
    const std::string_view answer = shortest_answer(question);
    const std::vector<ShownDocument> texts = texts_of(question, memory);
    if (answer.empty() || texts.empty()) continue;
    std::vector<int64_t> ids;
    for (const ShownDocument& text : texts) ids.push_back(text.id);
    writer.begin_asked();
    writer.add_question(question.text);
    writer.add_ids(ids);
    writer.add_texts(texts);
    writer.add_end_of_retrieve();
    writer.add_answer(question.text, answer, {.term = LossTerm::kAnswer, .weight = 1}, 0);
    if (writer.num_tokens() > max_sequence_tokens) continue;
    add_asked(writer.sequence(), {}, std::string(question.name), batch);
  }
  return batch;
}

}  // namespace msa::samples
