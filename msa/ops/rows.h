#pragma once
// Sharing the rows of a tensor among threads, and checks of what tensors are.

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/number_type.h"

namespace msa::ops {

/// Calls body(first, end) for blocks of rows of about `block` each.
template <typename Body>
void for_row_blocks(int64_t num_rows, int64_t block, const Body& body) {
  parallel_for((num_rows + block - 1) / block,
               [&](int64_t i) { body(i * block, std::min(num_rows, (i + 1) * block)); });
}

/// float32 or bfloat16 as the kernels call it; throws Error(kInvalidArgument) for others.
inline kernels::NumberType number_type(const at::Tensor& tensor, const char* name) {
  MSA_CHECK(tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kBFloat16, name,
            " must be float32 or bfloat16, got ", tensor.scalar_type());
  return tensor.scalar_type() == at::kFloat ? kernels::NumberType::kFloat32
                                            : kernels::NumberType::kBFloat16;
}

inline void expect_floats(const at::Tensor& tensor, const char* name) {
  MSA_CHECK(tensor.scalar_type() == at::kFloat && tensor.is_contiguous(), name,
            " must be contiguous float32, got ", tensor.scalar_type(), " ", tensor.sizes());
}

/// Throws Error(kInvalidArgument) unless `offsets` is contiguous int64 [N + 1] from 0 to `num_rows`
/// that never falls.
inline void expect_offsets(const at::Tensor& offsets, int64_t num_rows, const char* name) {
  MSA_CHECK(offsets.scalar_type() == at::kLong && offsets.dim() == 1 && offsets.is_contiguous() &&
                offsets.numel() > 0,
            name, " must be contiguous int64 [N + 1], got ", offsets.scalar_type(), " ",
            offsets.sizes());
  const int64_t* offset = offsets.const_data_ptr<int64_t>();
  const int64_t last = offsets.numel() - 1;
  MSA_CHECK(offset[0] == 0 && offset[last] == num_rows, name, " must begin with 0 and end with ",
            num_rows, ", got ", offset[0], " and ", offset[last]);
  for (int64_t n = 0; n < last; ++n) {
    MSA_CHECK(offset[n] <= offset[n + 1], name, " must not fall, got ", offset[n], " and then ",
              offset[n + 1]);
  }
}

}  // namespace msa::ops
