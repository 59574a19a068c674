#pragma once
// A batch of random tokens with the lengths of a real one, for measurements.

#include <cstdint>

#include "msa/samples/batch.h"

namespace msa::samples {

/// Lengths of documents and of running text are even between half and one and a half times the
/// mean given.
struct RandomBatchOptions {
  uint64_t seed = 1;
  int64_t vocab_size = 0;         // more than 3
  int64_t memory_tokens = 0;      // of all documents, exactly; 0: nobody is asked
  int64_t document_tokens = 240;  // mean
  int64_t num_naming = 0;         // questions that name their gold document
  int64_t num_reading = 0;        // questions that read a text and answer
  int64_t sequence_tokens = 0;    // of all sequences, exactly: running text fills what is left
  bool learns_documents = false;  // all but each one's first token
};

constexpr int64_t kNamingTokens = 56;    // 45 ask, 7 are learned
constexpr int64_t kReadingTokens = 400;  // 45 ask, 300 are learned

/// The same for the same options, on every machine. Every question has one gold document; all
/// tokens of running text are learned. Throws Error(kInvalidArgument) if the questions take more
/// than sequence_tokens, or are asked over no document.
Batch random_batch(const RandomBatchOptions& options);

}  // namespace msa::samples
