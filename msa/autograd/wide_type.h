#pragma once
// The types that the rules of this folder compute in, and checks of what tensors are.

#include <ATen/core/Tensor.h>

#include <initializer_list>

#include "msa/base/error.h"

namespace msa::autograd {

/// float64 for float64, else float32: what sums and statistics of such values are held in.
inline at::ScalarType wide_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// Throws Error(kInvalidArgument) unless the values are of floating point and all on one device.
inline void expect_values(const char* name, std::initializer_list<at::Tensor> tensors) {
  for (const auto& tensor : tensors) {
    MSA_CHECK(tensor.is_floating_point(), name, ": values must be of floating point, got ",
              tensor.scalar_type());
    MSA_CHECK(tensor.device() == tensors.begin()->device(), name, ": one tensor lies on ",
              tensors.begin()->device(), ", another on ", tensor.device());
  }
}

/// Throws Error(kInvalidArgument) unless `offsets` is int32 [S + 1], contiguous; on the CPU also
/// unless it goes from 0 to `num_rows` and never falls (elsewhere reading it would wait).
inline void expect_offsets(const char* name, const at::Tensor& offsets, int64_t num_rows) {
  MSA_CHECK(offsets.scalar_type() == at::kInt && offsets.dim() == 1 && offsets.numel() > 0 &&
                offsets.is_contiguous(),
            name, ": offsets must be contiguous int32 [S + 1], got ", offsets.scalar_type(), " ",
            offsets.sizes());
  if (!offsets.is_cpu()) return;
  const int32_t* offset = offsets.const_data_ptr<int32_t>();
  const int64_t last = offsets.numel() - 1;
  MSA_CHECK(offset[0] == 0 && offset[last] == num_rows, name, ": offsets must go from 0 to ",
            num_rows, ", got ", offset[0], " to ", offset[last]);
  for (int64_t s = 0; s < last; ++s) {
    MSA_CHECK(offset[s] <= offset[s + 1], name, ": offsets must not fall, got ", offset[s],
              " and then ", offset[s + 1]);
  }
}

}  // namespace msa::autograd
