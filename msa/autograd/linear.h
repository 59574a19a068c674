#pragma once
// Matrix product with a weight, with gradients.

#include <ATen/core/Tensor.h>

#include <vector>

#include "msa/autograd/purpose.h"

namespace msa::autograd {

/// Learned matrices one below the other, as products read them.
struct ProductWeight {
  std::vector<at::Tensor> learned;  // [N_i, K] of one type: gradients go there
  at::Tensor values;                // [N, K], N the sum of N_i, in the type of products

  /// What is below the first learned matrix. Shares values.
  ProductWeight without_first() const;
};

/// Joins the matrices and rounds them to `type`; a single one that has the type is read where it
/// lies. Later changes of the matrices do not reach the others: make it once a step, for all
/// products.
ProductWeight product_weight(std::vector<at::Tensor> learned, at::ScalarType type);

/// y [T, N] = x [T, K] times the weight's values [N, K] transposed, of their type. Gradients of the
/// learned matrices are summed and returned in their own type; those of one product share storage.
/// For kGradients nothing is multiplied, and y is NaN.
at::Tensor linear(const at::Tensor& x, const ProductWeight& weight,
                  Purpose purpose = Purpose::kValues);

/// [M, N] = a [M, K] times b [N, K] transposed, of their type. No gradients.
at::Tensor row_product(const at::Tensor& a, const at::Tensor& b);

/// [N, K] of `type` = gradient [T, N] transposed times x [T, K]. Sums are float32 or wider and not
/// rounded below `type`. No gradients.
at::Tensor weight_gradient(const at::Tensor& gradient, const at::Tensor& x, at::ScalarType type);

}  // namespace msa::autograd
