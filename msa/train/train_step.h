#pragma once
// One step of a phase: batch, losses, gradients, and the parameters moved.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "msa/samples/batch.h"
#include "msa/train/forward.h"
#include "msa/train/guard.h"
#include "msa/train/optimizer.h"
#include "msa/train/parameters.h"
#include "msa/train/run_log.h"
#include "msa/train/step_flops.h"
#include "msa/train/step_input.h"

namespace msa::train {

/// What came of a step, read from the device.
struct StepResult {
  StepOutcome outcome;
  int64_t num_tokens = 0;       // of documents and sequences
  std::vector<Figure> losses;   // "total", and the terms with weight
  std::vector<Figure> routing;  // mean over the router layers: "recall_1", "recall_k"
  // Of a step that was not taken, where it is known; samples are those of the batch otherwise.
  std::vector<std::string> bad_tensors;
  std::vector<std::string> bad_samples;
};

/// Options of all steps of a phase; the temperature that it wants is the parameter already.
/// `parameters` on the device of `math`.
ForwardOptions phase_options(const PhaseConfig& phase, const Parameters& parameters,
                             at::ScalarType type);

/// What counts of such a phase's batches.
StepFlopsOptions flops_options(const PhaseConfig& phase, const ForwardOptions& options);

/// A batch on its way to the device.
struct PreparedStep {
  samples::Batch batch;
  LossTotals totals;
  StepInput input;
  StepFlops flops;
};

/// Checks the batch and hands it to the device, without waiting for what runs there: best while the
/// step before does. For steps with the same `options`, `device` and config of the model.
PreparedStep prepare_step(const model::ModelConfig& config, samples::Batch batch,
                          const ForwardOptions& options, const StepFlopsOptions& flops,
                          at::Device device);

struct StepRule {
  int64_t step = 0;   // its number in the outcome
  uint64_t seed = 0;  // of the run and rank: what is dropped follows from it and from the step
  double rate = 0;
  StepLimits limits;
};

/// Takes a step unless it passes a limit or something is not finite: a weight, what the optimizer
/// remembers, an activation at the border of a layer, the loss, a gradient. One that is not taken
/// changes no parameter and no state by a bit. Waits for the device once, and
/// more often only to say what was wrong. `meanwhile`, if given, is called while the device works;
/// what it throws comes out of here, and the step may have been taken then.
StepResult take_step(const LayerMath& math, Parameters& parameters, Optimizer& optimizer,
                     const PreparedStep& prepared, ForwardOptions options, const StepRule& rule,
                     const std::function<void()>& meanwhile = {});

}  // namespace msa::train
