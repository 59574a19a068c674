#pragma once
// Dot products of chosen rows, with gradients.

#include <ATen/core/Tensor.h>

namespace msa::autograd {

/// queries [Q, F], keys [C, F]; query_rows and key_rows int64 [n]; result [n], float32 or float64:
/// queries[query_rows[i]] . keys[key_rows[i]]. Gradients reach both through gather_rows.
at::Tensor pair_scores(const at::Tensor& queries, const at::Tensor& keys,
                       const at::Tensor& query_rows, const at::Tensor& key_rows);

}  // namespace msa::autograd
