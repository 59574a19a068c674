#pragma once
// The model's own misses: documents that it takes for the answer to training questions.

#include <cstdint>
#include <vector>

#include "msa/samples/mixture.h"
#include "msa/samples/train_corpus.h"
#include "msa/train/config.h"
#include "msa/train/named_tensor.h"
#include "msa/train/rank_documents.h"

namespace msa::train {

struct MiningOptions {
  MiningConfig wanted;
  uint64_t seed = 0;
  int64_t step = 0;    // other steps take other questions and other documents beside theirs
  int64_t top_k = 16;  // of the choice in a router layer, and of the recall
  at::ScalarType type = at::kFloat;
  StopAsked stop = {};
};

struct Mined {
  std::vector<std::vector<int32_t>> groups;  // for BatchMaker::set_similar
  Recall recall;                             // of the questions in the memory that was mined
};

/// Asks training questions over a memory of what supports them and of any documents beside that may
/// enter, ranked as inference ranks them, and makes samples::similar_documents of the best. Nothing
/// held back takes part. The same for equal arguments. `tensors` on the device of `math`.
/// Throws Error(kInvalidArgument) if the memory has no room for one question's documents,
/// Error(kInterrupted) when stopped.
Mined mine(const samples::TrainCorpus& corpus, const text::PromptLayout& layout,
           const samples::Mixture& mixture, const LayerMath& math, const ModelTensors& tensors,
           const MiningOptions& options);

/// Groups as tensors of a checkpoint, and back. Throws Error(kCorruption) for tensors that are
/// none.
std::vector<NamedTensor> to_tensors(const std::vector<std::vector<int32_t>>& groups);
std::vector<std::vector<int32_t>> to_groups(const std::vector<NamedTensor>& tensors);

}  // namespace msa::train
