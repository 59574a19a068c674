#pragma once
// The documents of a batch as a memory: pooled keys and values of the router layers.

#include <ATen/core/Tensor.h>

#include <vector>

#include "msa/train/layer_math.h"
#include "msa/train/step_input.h"

namespace msa::train {

/// By router layer; C chunks, document by document.
struct BatchMemory {
  std::vector<at::Tensor> key;          // [C, F]
  std::vector<at::Tensor> value;        // [C, F]
  std::vector<at::Tensor> routing_key;  // [C, F]
};

/// Encodes the input's documents, each alone, a pass after the other; with gradients if the tensors
/// have them. `type` is that of the activations. If it `recomputes`, a layer's activations are made
/// again in the backward pass, and `math` must live until that is over.
BatchMemory encode_documents(const LayerMath& math, const ModelTensors& tensors,
                             const StepInput& input, at::ScalarType type, bool recomputes = false);

}  // namespace msa::train
