#include "msa/train/checkpointed_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <utility>

#include "msa/autograd/checkpointed.h"
#include "msa/autograd/dropout.h"

namespace msa::train {
namespace {

using Tensors = std::vector<at::Tensor>;

/// Calls visit(tensor) for each, in one order.
template <typename Visit>
void for_tensors(LayerInput& input, const Visit& visit) {
  visit(input.residual.x);
  visit(input.residual.addend);
  for (const auto place : kLayerNorms) visit(input.weights.*place);
  for (const auto place : kLayerMatrices) {
    autograd::ProductWeight& matrix = input.weights.*place;
    visit(matrix.values);
    for (at::Tensor& learned : matrix.learned) visit(learned);
  }
  for (at::Tensor& tensor : input.more) visit(tensor);
}

Tensors list_of(const LayerOutput& output) {
  Tensors list{output.residual.x, output.residual.addend};
  list.insert(list.end(), output.more.begin(), output.more.end());
  return list;
}

/// The part, and dropout of what it adds to the stream.
LayerPart with_dropout(const LayerPart& part, double share, uint64_t seed) {
  if (share == 0) return part;
  return [part, share, seed](const LayerInput& input, autograd::Purpose purpose) {
    LayerOutput out = part(input, purpose);
    if (out.residual.addend.defined()) {
      out.residual.addend = autograd::dropout(out.residual.addend, share, seed, purpose);
    }
    return out;
  };
}

LayerOutput run_part(const LayerPart& part, const LayerInput& input, bool recomputes) {
  if (!recomputes) return part(input, autograd::Purpose::kValues);
  Tensors list;
  LayerInput empty = input;  // without its tensors, which the function must not hold
  for_tensors(empty, [&](at::Tensor& tensor) { list.push_back(std::exchange(tensor, {})); });
  const auto outputs = autograd::checkpointed(
      [part, empty](const Tensors& inputs, autograd::Purpose purpose) {
        LayerInput filled = empty;
        auto next = inputs.begin();
        for_tensors(filled, [&](at::Tensor& tensor) { tensor = *next++; });
        return list_of(part(filled, purpose));
      },
      list);
  LayerOutput output;
  output.residual.x =
      outputs[0].defined() && outputs[1].defined() ? outputs[0] + outputs[1] : outputs[0];
  output.more.assign(outputs.begin() + 2, outputs.end());
  return output;
}

}  // namespace

LayerOutput run_layer(const LayerMath& math, const LayerPart& attention, const LayerInput& input,
                      const LayerRun& run) {
  LayerOutput out =
      run_part(with_dropout(attention, run.dropout, run.attention_seed), input, run.recomputes);
  if (!out.residual.x.defined()) return out;
  const LayerPart mlp = [&math](const LayerInput& in, autograd::Purpose purpose) {
    return LayerOutput{.residual = math.add_mlp(in.weights, in.residual, purpose), .more = {}};
  };
  out.residual =
      run_part(with_dropout(mlp, run.dropout, run.mlp_seed),
               {.residual = out.residual, .weights = input.weights, .more = {}}, run.recomputes)
          .residual;
  return out;
}

}  // namespace msa::train
