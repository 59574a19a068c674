#pragma once
// One step of a phase: batch, losses, gradients, and the parameters moved.

#include <cstdint>
#include <string>
#include <vector>

#include "msa/samples/batch.h"
#include "msa/train/forward.h"
#include "msa/train/guard.h"
#include "msa/train/optimizer.h"
#include "msa/train/parameters.h"
#include "msa/train/run_log.h"
#include "msa/train/step_flops.h"

namespace msa::train {

/// What came of a step, read from the device.
struct StepResult {
  StepOutcome outcome;
  int64_t num_tokens = 0;        // of documents and sequences
  std::vector<Figure> losses;    // "total", and the terms with weight
  std::vector<Figure> routing;   // mean over the router layers: "recall_1", "recall_k"
  std::vector<std::string> bad;  // tensors with values that are not finite; of a step not taken
};

/// Options of all steps of a phase; the temperature that it wants is the parameter already.
/// `parameters` on the device of `math`.
ForwardOptions phase_options(const PhaseConfig& phase, const Parameters& parameters,
                             at::ScalarType type);

/// What counts of such a phase's batches.
StepFlopsOptions flops_options(const PhaseConfig& phase, const ForwardOptions& options);

/// Takes a step unless the loss is above `limit` or something is not finite. Waits for the device.
/// `step` names it in the outcome.
StepResult take_step(const LayerMath& math, Parameters& parameters, Optimizer& optimizer,
                     const samples::Batch& batch, ForwardOptions options, double rate, double limit,
                     int64_t step);

}  // namespace msa::train
