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

/// The pairs of token and chunk that the loss of a router layer is made of: for each of the A'
/// questions with gold its M documents, gold ones first.
struct ScoredPairs {
  at::Tensor token;    // [A', M] int64, rows of the queries
  at::Tensor chunk;    // [A', M] int64, rows of the keys
  at::Tensor is_gold;  // [A', M] bool
};

/// Of one router layer, without gradient.
struct Routing {
  at::Tensor scores;         // [A, Dn] float32
  at::Tensor selected;       // [A, min(K, Dn)] int64, places of documents
  at::Tensor first_hits;     // scalar: questions with gold whose best document is gold
  at::Tensor selected_hits;  // scalar: those with gold among the best K, before any is forced in
  ScoredPairs pairs;         // undefined if nothing is learned of them
};

/// queries [Q, F] are folded (head mean and scale are in them), keys [C, F]; both of one type.
/// The choice is that of inference: largest score first, ties by place. Pairs only if
/// `wants_pairs` and some question has gold.
Routing route(const StepInput& input, const at::Tensor& queries, const at::Tensor& keys,
              const RoutingOptions& options, bool wants_pairs);

/// Scalar: the sum over the questions of `pairs`. Gradients reach queries and keys through the
/// pairs alone.
at::Tensor routing_loss(const at::Tensor& queries, const at::Tensor& keys, const ScoredPairs& pairs,
                        const AuxiliaryLossOptions& options);

}  // namespace msa::train
