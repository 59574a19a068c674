#pragma once
// The documents of a batch as a memory: pooled keys and values of the router layers.

#include <ATen/core/Tensor.h>

#include <vector>

#include "msa/base/stop.h"
#include "msa/train/layer_border.h"
#include "msa/train/layer_math.h"
#include "msa/train/step_dropout.h"
#include "msa/train/step_input.h"

namespace msa::train {

/// By router layer; C chunks, document by document.
struct BatchMemory {
  std::vector<at::Tensor> key;          // [C, F]
  std::vector<at::Tensor> value;        // [C, F]
  std::vector<at::Tensor> routing_key;  // [C, F]

  // Behind the last layer, of the input's document targets [m, E], if it has any.
  Residual learned;
};

struct EncodingOptions {
  at::ScalarType type = at::kFloat;  // of the activations
  bool recomputes_layers = false;    // they are made again in the backward pass
  StepDropout dropout = {};
  OnBorder on_border = {};
  StopAsked stop = {};  // asked between passes
};

/// Encodes the input's documents, each alone, a pass after the other; with gradients if the tensors
/// have them. Those with targets go through all layers, others through the last one that routes.
/// With recomputes_layers `math` must live until the backward pass is over. Throws
/// Error(kInterrupted) when stopped.
BatchMemory encode_documents(const LayerMath& math, const ModelTensors& tensors,
                             const StepInput& input, const EncodingOptions& options);

}  // namespace msa::train
