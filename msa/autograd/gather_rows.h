#pragma once
// Rows by their numbers, with gradients.

#include <ATen/core/Tensor.h>

namespace msa::autograd {

/// source [N, F], rows int64 [M], each in [0, N), in any order and any number of times; result
/// [M, F]: row m is source[rows[m]]. Gradients of a row that is taken several times are summed in
/// float32 or more, in an order that is the same every time.
at::Tensor gather_rows(const at::Tensor& source, const at::Tensor& rows);

}  // namespace msa::autograd
