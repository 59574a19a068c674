#pragma once
// Documents of a memory in the order in which inference would take them for each question.

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "msa/samples/batch.h"
#include "msa/train/forward.h"

namespace msa::train {

struct RankingOptions {
  int64_t top_k = 16;  // documents chosen in a router layer, which the layers above read
  int64_t depth = 16;  // documents that are named for a question
  at::ScalarType type = at::kFloat;
  StopAsked stop = {};  // asked between passes
};

/// Places [A, min(depth, Dn)] int64, on the CPU: best first, by the mean score over the router
/// layers. The batch's documents are encoded a pass after the other and their pooled keys and
/// values kept, the questions asked some at a time; `tensors` on the device of `math`. Throws as
/// forward, and Error(kInterrupted) when stopped.
at::Tensor rank_documents(const LayerMath& math, const ModelTensors& tensors,
                          const samples::Batch& batch, const RankingOptions& options);

/// How often what was looked for is found.
struct Recall {
  int64_t memory_tokens = 0;
  int64_t num_documents = 0;
  int64_t num_questions = 0;
  double at_1 = 0;  // share of questions with a gold document first
  double at_k = 0;  // ... among the first K
};

/// Of the questions of a batch, ranked to a depth of k or more where there are as many documents.
Recall recall_of(const samples::Batch& batch, const at::Tensor& ranked, int64_t k);

}  // namespace msa::train
