#include "msa/train/step_fault.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "msa/train/guard.h"

namespace msa::train {
namespace {

/// Scalars [tensors]: whether the length of each is finite.
at::Tensor each_finite(std::span<const NamedTensor> tensors) {
  std::vector<at::Tensor> values;
  for (const NamedTensor& named : tensors) values.push_back(named.tensor.detach());
  return at::isfinite(at::stack(at::_foreach_norm(values, 2)));
}

std::vector<std::string> names_of_bad(std::span<const NamedTensor> tensors) {
  const at::Tensor is_finite = each_finite(tensors).cpu();
  std::vector<std::string> names;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!is_finite.const_data_ptr<bool>()[i]) names.push_back(tensors[i].name);
  }
  return names;
}

}  // namespace

at::Tensor all_finite(std::span<const NamedTensor> tensors) {
  const c10::NoGradGuard no_gradients;
  return each_finite(tensors).all();
}

StepFault find_fault(std::span<const NamedTensor> parameters, std::span<const NamedTensor> state,
                     const BadActivation& activation) {
  const c10::NoGradGuard no_gradients;
  if (auto names = names_of_bad(parameters); !names.empty()) {
    return {.what = "a weight is not finite", .tensors = std::move(names), .samples = {}};
  }
  if (auto names = names_of_bad(state); !names.empty()) {
    return {.what = "what the optimizer remembers is not finite",
            .tensors = std::move(names),
            .samples = {}};
  }
  if (!activation.tensor.empty()) {
    return {.what = "an activation is not finite",
            .tensors = {activation.tensor},
            .samples = activation.samples};
  }
  if (auto names = not_finite_gradients(parameters); !names.empty()) {
    std::reverse(names.begin(), names.end());  // as the backward pass comes to them
    return {.what = "a gradient is not finite", .tensors = std::move(names), .samples = {}};
  }
  return {};
}

std::string longest_gradient(std::span<const NamedTensor> parameters) {
  const c10::NoGradGuard no_gradients;
  std::string name;
  double longest = -1;
  for (const NamedTensor& parameter : parameters) {
    const at::Tensor& gradient = parameter.tensor.grad();
    if (!gradient.defined()) continue;
    const auto length = at::linalg_vector_norm(gradient.to(at::kDouble)).item<double>();
    if (length > longest) {
      longest = length;
      name = parameter.name;
    }
  }
  return name;
}

}  // namespace msa::train
