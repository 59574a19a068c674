#pragma once
// Routing of a batch's questions over its documents: the choice, and what is learned of it.

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "msa/train/auxiliary_loss.h"
#include "msa/train/step_input.h"

namespace msa::train {

struct RoutingOptions {
  int64_t top_k = 16;
  bool forces_gold = true;    // gold documents are always among the chosen ones
  int64_t num_negatives = 0;  // of a question that are scored with gradients, the hardest; 0: all
  AuxiliaryLossOptions loss;
};

/// Of one router layer.
struct Routing {
  at::Tensor scores;         // [A, Dn] float32, without gradient
  at::Tensor selected;       // [A, min(K, Dn)] int64, places of documents
  at::Tensor loss;           // scalar: sum over the questions with gold; undefined if not asked for
  at::Tensor first_hits;     // scalar: questions with gold whose best document is gold
  at::Tensor selected_hits;  // scalar: those with gold among the best K, before any is forced in
};

/// queries [Q, F] are folded (head mean and scale are in them), keys [C, F]; both of one type.
/// Gradients reach them through the best pair of token and chunk of each document scored, and only
/// if `wants_loss`. The choice is that of inference: largest score first, ties by place.
Routing route(const StepInput& input, const at::Tensor& queries, const at::Tensor& keys,
              const RoutingOptions& options, bool wants_loss);

}  // namespace msa::train
