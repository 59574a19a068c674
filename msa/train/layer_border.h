#pragma once
// Where a tensor is on its way through a step, for those who watch it pass.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace msa::train {

/// What the rows of a tensor are.
enum class RowsOf {
  kDocumentTokens,
  kChunks,
  kDocumentTargets,
  kSequenceTokens,  // head first, as in StepInput
  kSequenceTargets,
  kTargets,  // of documents, then of sequences
  kNothing,  // a scalar
};

/// A tensor that passes from one layer to the next, or leaves them.
struct LayerBorder {
  std::string_view tensor;  // "output of the mlp"
  int64_t layer = -1;       // -1: belongs to none
  RowsOf rows = RowsOf::kNothing;
  int64_t first_row = 0;  // of the tensor, among all of the step
};

/// "output of the mlp of layer 3, documents".
std::string name_of(const LayerBorder& border);

/// Told of every tensor at a border, in the order of the forward pass. Tensors may be undefined; a
/// layer that is made again in the backward pass tells nothing then.
using OnBorder = std::function<void(const LayerBorder& border, const at::Tensor& tensor)>;

}  // namespace msa::train
