#pragma once
// Questions whose texts are in front of the model: how well it reads, whatever it finds.

#include <cstdint>
#include <span>

#include "msa/samples/asked_memory.h"
#include "msa/samples/batch.h"
#include "msa/samples/train_corpus.h"
#include "msa/text/prompt_layout.h"

namespace msa::samples {

/// The memory's documents with one sequence for each question of `corpus` that has an answer, and
/// whose gold documents are in the memory: its texts appended (of alternatives the first), the end
/// of retrieval, the answer. The shortest answer and its end are the only targets, of weight 1 in
/// LossTerm::kAnswer. Sequences longer than `max_sequence_tokens` are left out.
Batch reading_batch(const TrainCorpus& corpus, const text::PromptLayout& layout,
                    const AskedMemory& memory, std::span<const int32_t> questions,
                    int64_t max_sequence_tokens);

}  // namespace msa::samples
