#pragma once
// One forward pass of training: documents become a memory, sequences are asked over it, losses come
// out. The rules of attention and routing are those of inference.

#include <ATen/core/Tensor.h>

#include "msa/train/batch_memory.h"
#include "msa/train/layer_math.h"
#include "msa/train/model_tensors.h"
#include "msa/train/routing.h"
#include "msa/train/step_dropout.h"
#include "msa/train/step_input.h"

namespace msa::train {

struct ForwardOptions {
  at::ScalarType type = at::kFloat;  // of activations: float32, float64, or bfloat16 on a GPU
  TermWeights weights;
  LossTotals totals;  // of the whole step, of which the input may be a part
  RoutingOptions routing;
  bool keeps_scores = false;
  bool keeps_hits = false;
  bool recomputes_layers = false;  // activation checkpointing: see run_layer
  StepDropout dropout = {};
  OnBorder on_border = {};
};

/// What one input adds to a step. All but `loss` without gradient.
struct StepLosses {
  at::Tensor loss;           // scalar, to be minimised
  at::Tensor terms;          // [kNumLossTerms]: each a mean over the step's targets of the term
  at::Tensor auxiliary;      // [router layers]: mean over the step's questions with gold
  at::Tensor first_hits;     // [router layers]: questions with gold whose best document is gold
  at::Tensor selected_hits;  // [router layers]: and those with gold among the best K
  at::Tensor scores;         // [A, Dn] float32: mean over the router layers; if kept
  at::Tensor hits;           // [m + n] bool: the most probable token is the target; if kept
};

/// Tensors and input on the device of `math`. Router layers at or above L / 2 have an auxiliary
/// loss. With recomputes_layers `math` and `input` must live until the backward pass is over.
/// Throws Error(kInvalidArgument) for a routing rule that training does not know: the mean over
/// heads must fold, and a document's score must be its largest.
StepLosses forward(const LayerMath& math, const ModelTensors& tensors, const StepInput& input,
                   const ForwardOptions& options);

/// The same over a memory that is encoded already; the input's documents are not.
StepLosses forward_over(const LayerMath& math, const ModelTensors& tensors, const StepInput& input,
                        const BatchMemory& memory, const ForwardOptions& options);

}  // namespace msa::train
