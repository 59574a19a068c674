#pragma once
// What tests of batches share: makers over the small corpus, and batches as text.

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "msa/samples/batch_fixture.h"
#include "msa/samples/batch_maker.h"

namespace msa::samples {

/// With the embedded model's tokenizer; in batch_maker_test.cpp, since tests alone know where it
/// is.
const BatchFixture& fixture();

inline const TrainCorpus& corpus() { return fixture().corpus(); }

inline Mixture small_mixture() {
  Mixture mixture;
  mixture.memory_tokens = 8'000;
  mixture.sequence_tokens = 12'000;
  return mixture;
}

inline BatchMaker maker_of(const Mixture& mixture, const BatchMakerOptions& options = {.seed = 3}) {
  return {corpus(), fixture().layout(), mixture, options};
}

inline std::string text_of(std::span<const int32_t> tokens) {
  return fixture().layout().tokenizer().decode(tokens);
}

inline std::string text_of(const PackedTokens& packed, size_t place) {
  const auto begin = static_cast<size_t>(packed.offsets[place]);
  const auto end = static_cast<size_t>(packed.offsets[place + 1]);
  return text_of(std::span(packed.tokens).subspan(begin, end - begin));
}

inline std::vector<std::string> texts_of(const PackedTokens& packed) {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < packed.num_sequences(); ++i) {
    texts.push_back(text_of(packed, static_cast<size_t>(i)));
  }
  return texts;
}

/// "<|im_start|>[12]. text": 12.
inline std::string id_of(const std::string& document) {
  const size_t begin = document.find('[') + 1;
  return document.substr(begin, document.find(']') - begin);
}

/// Learned tokens of a term as text, by sequence.
inline std::map<size_t, std::string> learned(const Batch& batch, LossTerm term) {
  std::map<size_t, std::vector<int32_t>> tokens;
  const auto& offsets = batch.sequences.offsets;
  for (size_t i = 0; i < batch.targets.rows.size(); ++i) {
    if (batch.targets.terms[i] != term) continue;
    const int32_t row = batch.targets.rows[i];
    const auto sequence = std::ranges::upper_bound(offsets, row) - offsets.begin() - 1;
    tokens[static_cast<size_t>(sequence)].push_back(batch.targets.tokens[i]);
  }
  std::map<size_t, std::string> texts;
  for (const auto& [sequence, ids] : tokens) texts[sequence] = text_of(ids);
  return texts;
}

inline std::vector<size_t> gold_of(const Batch& batch, size_t sequence) {
  const auto begin = batch.gold.begin() + batch.gold_offsets[sequence];
  return {begin, batch.gold.begin() + batch.gold_offsets[sequence + 1]};
}

inline bool are_equal(const Batch& a, const Batch& b) {
  return a.head == b.head && a.documents.tokens == b.documents.tokens &&
         a.documents.offsets == b.documents.offsets && a.sequences.tokens == b.sequences.tokens &&
         a.sequences.positions == b.sequences.positions &&
         a.sequences.offsets == b.sequences.offsets && a.num_asking == b.num_asking &&
         a.query_rows == b.query_rows && a.gold == b.gold && a.names == b.names &&
         a.gold_offsets == b.gold_offsets && a.query_offsets == b.query_offsets &&
         a.targets.rows == b.targets.rows && a.targets.tokens == b.targets.tokens &&
         a.targets.weights == b.targets.weights && a.targets.terms == b.targets.terms &&
         a.document_targets.rows == b.document_targets.rows &&
         a.document_targets.tokens == b.document_targets.tokens;
}

/// Of readings: the text that an answer frame ends, and what of it is learned as the answer.
inline std::vector<std::pair<std::string, std::string>> readings(const Batch& batch,
                                                                 LossTerm term) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [sequence, text] : learned(batch, term)) {
    const std::string frame(text::kAnswerFrame);
    const size_t place = text.rfind(frame);
    if (place == std::string::npos) continue;
    std::string answer = text.substr(place + frame.size() + 1);  // behind a blank
    answer.resize(answer.size() - std::string("<|im_end|>").size());
    out.emplace_back(text_of(batch.sequences, sequence), answer);
  }
  return out;
}

}  // namespace msa::samples
