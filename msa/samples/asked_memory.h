#pragma once
// Questions over one memory that are to be ranked: nothing in it is learned.

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "msa/samples/batch.h"
#include "msa/samples/train_corpus.h"
#include "msa/text/prompt_layout.h"

namespace msa::samples {

/// A batch that grows: documents take places in the order of their coming, with ids that count up
/// from 1 and with their titles. Borrows corpus and layout. Not for use by several threads.
class AskedMemory {
 public:
  /// Of at most `max_tokens` tokens of documents.
  AskedMemory(const TrainCorpus& corpus, const text::PromptLayout& layout, int64_t max_tokens);

  /// The document's place, new or not; nothing where there is no room for it.
  std::optional<int32_t> add(int32_t document);

  /// Adds what supports the question, and asks it. False where there is no room for all of that;
  /// some of it may be there now.
  bool ask(const TrainQuestion& question);

  /// The id that stands in the frame of a place's document.
  static int64_t id_of(int32_t place) { return place + 1; }

  /// Nothing where the document is not there.
  std::optional<int32_t> place_of(int32_t document) const;

  const Batch& batch() const { return batch_; }
  const std::vector<int32_t>& documents() const { return documents_; }  // by place

 private:
  const TrainCorpus& corpus_;
  const text::PromptLayout& layout_;
  int64_t max_tokens_;
  Batch batch_;
  std::vector<int32_t> documents_;
  std::unordered_map<int32_t, int32_t> places_;
};

}  // namespace msa::samples
