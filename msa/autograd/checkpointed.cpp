#include "msa/autograd/checkpointed.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "msa/base/error.h"

namespace msa::autograd {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

std::vector<bool> which_are_defined(const variable_list& tensors) {
  std::vector<bool> is_defined;
  for (const at::Tensor& tensor : tensors) is_defined.push_back(tensor.defined());
  return is_defined;
}

variable_list defined_ones(const variable_list& tensors) {
  variable_list some;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.defined()) some.push_back(tensor);
  }
  return some;
}

/// The other way: undefined tensors where there were some.
variable_list in_place(const variable_list& defined, const std::vector<bool>& is_defined) {
  variable_list all;
  size_t next = 0;
  for (const bool is : is_defined) all.push_back(is ? defined[next++] : at::Tensor());
  return all;
}

/// A function and which of its inputs and outputs there are: the graph holds the others alone.
struct Segment : torch::CustomClassHolder {
  TensorFunction function;
  std::vector<bool> has_input;
  std::vector<bool> has_output;  // known after the first call

  /// A graph of its own, beside the one at hand.
  variable_list run(const variable_list& leaves, Purpose purpose) {
    const at::AutoGradMode with_gradients(true);
    const auto outputs = function(in_place(leaves, has_input), purpose);
    has_output = which_are_defined(outputs);
    return defined_ones(outputs);
  }
};

struct Checkpointed : torch::autograd::Function<Checkpointed> {
  /// Makes the graph to see which outputs have gradients, and lets go of it.
  static variable_list forward(AutogradContext* context, const c10::intrusive_ptr<Segment>& segment,
                               at::TensorList inputs) {
    variable_list leaves;
    for (const at::Tensor& input : inputs) {
      leaves.push_back(input.detach().requires_grad_(input.requires_grad()));
    }
    auto outputs = segment->run(leaves, Purpose::kValues);
    variable_list without_gradient;
    for (at::Tensor& output : outputs) {
      const bool is_learned = output.requires_grad();
      output = output.detach();
      if (!is_learned) without_gradient.push_back(output);
    }
    context->mark_non_differentiable(without_gradient);
    context->set_materialize_grads(false);
    context->save_for_backward(inputs.vec());
    context->saved_data["segment"] = at::IValue::make_capsule(segment);
    return outputs;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto held = context->saved_data["segment"].toCapsule();
    const auto saved = context->get_saved_variables();
    variable_list leaves;
    variable_list learned;
    for (size_t i = 0; i < saved.size(); ++i) {
      leaves.push_back(saved[i].detach());
      if (context->needs_input_grad(i)) learned.push_back(leaves[i].requires_grad_());
    }
    const auto outputs = static_cast<Segment&>(*held).run(leaves, Purpose::kGradients);
    MSA_CHECK(outputs.size() == gradients.size(), "a checkpointed function gave ", gradients.size(),
              " tensors, and ", outputs.size(), " when it ran again");
    variable_list roots;
    variable_list slopes;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!gradients[i].defined() || !outputs[i].requires_grad()) continue;
      roots.push_back(outputs[i]);
      slopes.push_back(std::move(gradients[i]));
    }
    const auto found = torch::autograd::grad(roots, learned, slopes, /*retain_graph=*/std::nullopt,
                                             /*create_graph=*/false, /*allow_unused=*/true);
    variable_list results(1);  // none for the segment itself
    size_t next = 0;
    for (const at::Tensor& leaf : leaves) {
      results.push_back(leaf.requires_grad() ? found[next++] : at::Tensor());
    }
    return results;
  }
};

}  // namespace

std::vector<at::Tensor> checkpointed(TensorFunction function,
                                     const std::vector<at::Tensor>& inputs) {
  if (!at::GradMode::is_enabled()) return function(inputs, Purpose::kValues);
  const auto segment = c10::make_intrusive<Segment>();
  segment->function = std::move(function);
  segment->has_input = which_are_defined(inputs);
  const auto some = defined_ones(inputs);
  const auto outputs = Checkpointed::apply(segment, at::TensorList(some));
  return in_place(outputs, segment->has_output);
}

}  // namespace msa::autograd
