#pragma once
// One training step over the recorded samples.

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "tests/parity/golden_set.h"

namespace msa::parity {

struct GoldenStep {
  std::string method = "INFONCE";    // of the auxiliary loss
  at::ScalarType type = at::kFloat;  // of activations; parameters are float32 or wider
  at::Device device = at::kCPU;
  // Every document is one chunk, a question one token, and all documents are chosen: what is chosen
  // does not hang on rounding.
  bool is_smooth = false;
  bool has_routers = true;    // of its own; else queries and keys of attention route
  bool asks = true;           // else only the samples' sequences are learned, without documents
  bool learns_tokens = true;  // else only routing is
  bool recomputes_layers = false;
};

struct StepResult {
  double loss = 0;
  at::Tensor terms;                             // [kNumLossTerms]
  at::Tensor auxiliary;                         // [router layers]
  std::map<std::string, at::Tensor> gradients;  // by parameter; undefined where there is none
};

/// Losses and gradients, weighted as they were recorded.
StepResult run_step(const GoldenSet& golden, const GoldenStep& step);

}  // namespace msa::parity
