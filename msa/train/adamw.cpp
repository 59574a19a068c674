#include "msa/train/adamw.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros.h>

namespace msa::train {

AdamW::AdamW(const std::vector<NamedTensor>& tensors, const AdamWOptions& options)
    : options_(options) {
  for (const NamedTensor& weight : tensors) {
    const auto kind = weight.tensor.options().requires_grad(false);
    entries_.push_back({.weight = weight,
                        .mean = at::zeros(weight.tensor.sizes(), kind),
                        .square = at::zeros(weight.tensor.sizes(), kind),
                        .steps = at::zeros({}, kind.dtype(at::kFloat))});
  }
}

void AdamW::step(double rate, const at::Tensor& scale, const at::Tensor& is_taken) {
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> gradients;
  std::vector<at::Tensor> means;
  std::vector<at::Tensor> squares;
  std::vector<at::Tensor> steps;
  for (const Entry& entry : entries_) {
    const at::Tensor& gradient = entry.weight.tensor.grad();
    if (!gradient.defined()) continue;
    weights.push_back(entry.weight.tensor.detach());
    gradients.push_back(gradient.contiguous());
    means.push_back(entry.mean);
    squares.push_back(entry.square);
    steps.push_back(entry.steps);
  }
  if (weights.empty()) return;
  at::_foreach_add_(steps, is_taken);
  const at::Tensor divisor = scale.reciprocal();
  at::_fused_adamw_(weights, gradients, means, squares, {}, steps, rate * options_.rate_factor,
                    options_.beta1, options_.beta2, options_.weight_decay, options_.epsilon,
                    /*amsgrad=*/false, /*maximize=*/false, divisor, 1 - is_taken);
}

void AdamW::list_state(std::vector<NamedTensor>& state) const {
  for (const Entry& entry : entries_) {
    state.push_back({.name = entry.weight.name + "/mean", .tensor = entry.mean});
    state.push_back({.name = entry.weight.name + "/square", .tensor = entry.square});
    state.push_back({.name = entry.weight.name + "/steps", .tensor = entry.steps});
  }
}

}  // namespace msa::train
