#pragma once
// What a tensor is made for.

namespace msa::autograd {

enum class Purpose {
  kValues,     // and for its gradients, where they are taken
  kGradients,  // alone: its shape, its type and its place in the graph are read, no value
};

}  // namespace msa::autograd
