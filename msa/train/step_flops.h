#pragma once
// Floating-point operations that a step of training asks of the model.

#include "msa/model/config.h"
#include "msa/samples/batch.h"
#include "msa/train/step_input.h"

namespace msa::train {

struct StepFlopsOptions {
  TermWeights weights;         // targets of terms without weight are not learned
  int64_t top_k = 16;          // documents chosen in a router layer
  bool routers_alone = false;  // nothing else learns
};

/// A multiplication with its addition is two operations. Counted is what the batch's lengths ask
/// for: products with matrices, attention between tokens that see each other, scores of routing;
/// not what is small beside them (norms, rotations, softmax), nor what a way of computing adds
/// (activations made again, masked pairs). Documents chosen count with the memory's mean chunks.
struct StepFlops {
  double layers = 0;     // forward: products with the matrices of the layers, routers left out
  double routers = 0;    // forward: products with router_q_proj and router_k_proj
  double attention = 0;  // forward: scores and weighted sums
  double head = 0;       // forward: logits of the learned tokens
  double scan = 0;       // forward: routing queries with routing keys; it has no backward pass
  double backward = 0;   // twice what it differentiates; once where only weights learn

  double total() const { return layers + routers + attention + head + scan + backward; }
};

StepFlops step_flops(const model::ModelConfig& config, const samples::Batch& batch,
                     const StepFlopsOptions& options);

}  // namespace msa::train
