#pragma once
// Rows by their numbers, with gradients.

#include <ATen/core/Tensor.h>

namespace msa::autograd {

/// source [N, F], rows int64 [M], each in [0, N), in any order and any number of times; result
/// [M, F]: row m is source[rows[m]]. Gradients of a row that is taken several times are summed in
/// float32 or more, in an order that is the same every time.
at::Tensor gather_rows(const at::Tensor& source, const at::Tensor& rows);

/// Rows that several sources of N rows each are read by: what their backward passes need of them is
/// made once.
struct RowsToGather {
  at::Tensor rows;     // [M] int64
  at::Tensor order;    // [M] int64, places in `rows` by what is read there
  at::Tensor offsets;  // [N + 1] int32: row n is read by order[offsets[n] .. offsets[n + 1]]
};

/// rows int64 [M], each in [0, num_source_rows), which is checked on the CPU.
RowsToGather rows_to_gather(const at::Tensor& rows, int64_t num_source_rows);

at::Tensor gather_rows(const at::Tensor& source, const RowsToGather& to_gather);

}  // namespace msa::autograd
