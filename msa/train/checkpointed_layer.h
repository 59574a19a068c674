#pragma once
// A layer whose activations are kept for the backward pass, or made again in it.

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

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

using LayerFunction = std::function<LayerOutput(const LayerInput&)>;

/// layer(input). If it `recomputes`, only the input is kept: the layer runs again in the backward
/// pass, under the rules of autograd::checkpointed. The stream that comes out is one tensor then.
LayerOutput run_layer(const LayerFunction& layer, const LayerInput& input, bool recomputes);

}  // namespace msa::train
