#pragma once
// A layer whose activations are kept for the backward pass, or made again in it.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "msa/autograd/purpose.h"
#include "msa/train/layer_math.h"
#include "msa/train/model_tensors.h"

namespace msa::train {

/// All that a layer reads with gradients. What stands in `more` is the layer's own; entries may be
/// undefined.
struct LayerInput {
  Residual residual;
  LayerTensors weights;
  std::vector<at::Tensor> more;
};

/// All that it makes; the stream is undefined where nobody reads it.
struct LayerOutput {
  Residual residual;
  std::vector<at::Tensor> more;
};

/// A part of a layer, under the rules of autograd::TensorFunction.
using LayerPart = std::function<LayerOutput(const LayerInput&, autograd::Purpose purpose)>;

struct LayerRun {
  bool recomputes = false;
  double dropout = 0;           // share of what attention and MLP add to the stream that becomes 0
  uint64_t attention_seed = 0;  // which of it
  uint64_t mlp_seed = 0;
};

/// attention(input), and the MLP over its stream if it has one. If it `recomputes`, only what
/// enters each of both is kept, and they run again in the backward pass, under the rules of
/// autograd::checkpointed, without the product that each ends with; `math` must live until then,
/// and streams are one tensor.
LayerOutput run_layer(const LayerMath& math, const LayerPart& attention, const LayerInput& input,
                      const LayerRun& run);

}  // namespace msa::train
