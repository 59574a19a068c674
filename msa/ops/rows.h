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

}  // namespace msa::ops
