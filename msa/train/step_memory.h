#pragma once
// Memory that a step of training takes on its device, estimated before the first one.

#include <cstdint>

#include "msa/model/config.h"
#include "msa/samples/batch.h"
#include "msa/train/config.h"
#include "msa/train/forward.h"

namespace msa::train {

/// Bytes.
struct StepMemory {
  int64_t weights = 0;      // float32, and what products read of them where that is no such matrix
  int64_t gradients = 0;    // float32
  int64_t optimizer = 0;    // what it remembers
  int64_t activations = 0;  // kept between the forward and the backward pass
  int64_t layer = 0;        // of the layer that is differentiated, beside them

  /// Gradients come while activations go: the larger of both counts.
  int64_t peak() const;
};

/// Counted from the batch's lengths and from what the operations keep; allocators and libraries
/// take some more. forward_test.cpp compares it with what is measured. All parameters learn.
StepMemory step_memory(const model::ModelConfig& config, const samples::Batch& batch,
                       const ForwardOptions& options, OptimizerMethod optimizer);

}  // namespace msa::train
