#pragma once
// A tensor with the name that it has in files and messages.

#include <ATen/core/Tensor.h>

#include <string>

namespace msa::train {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

}  // namespace msa::train
