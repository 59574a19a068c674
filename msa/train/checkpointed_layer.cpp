#include "msa/train/checkpointed_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include "msa/autograd/checkpointed.h"

namespace msa::train {
namespace {

using Tensors = std::vector<at::Tensor>;

Tensors list_of(const LayerInput& input) {
  Tensors list{input.residual.x, input.residual.addend};
  for (const auto place : kLayerTensors) list.push_back(input.weights.*place);
  list.insert(list.end(), input.more.begin(), input.more.end());
  return list;
}

LayerInput input_of(const Tensors& list) {
  LayerInput input;
  auto next = list.begin();
  input.residual.x = *next++;
  input.residual.addend = *next++;
  for (const auto place : kLayerTensors) input.weights.*place = *next++;
  input.more.assign(next, list.end());
  return input;
}

Tensors list_of(const LayerOutput& output) {
  Tensors list{output.residual.x, output.residual.addend};
  list.insert(list.end(), output.more.begin(), output.more.end());
  return list;
}

}  // namespace

LayerOutput run_layer(const LayerFunction& layer, const LayerInput& input, bool recomputes) {
  if (!recomputes) return layer(input);
  const Tensors list = autograd::checkpointed(
      [layer](const Tensors& inputs) { return list_of(layer(input_of(inputs))); }, list_of(input));
  LayerOutput output;
  output.residual.x = list[0].defined() && list[1].defined() ? list[0] + list[1] : list[0];
  output.more.assign(list.begin() + 2, list.end());
  return output;
}

}  // namespace msa::train
