#pragma once
// Tensors as arrays that a kernel reads and writes where they lie.

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "msa/base/bfloat16.h"

namespace msa::autograd {

/// Whether it begins at a multiple of 16 bytes, as kernels want it.
bool is_aligned(const at::Tensor& tensor);

/// A float32 tensor that a kernel can read where it lies.
bool is_float_array(const at::Tensor& tensor);

/// The tensor if it is contiguous and aligned, else a copy that is: a gradient, even a contiguous
/// one, may begin anywhere in a larger tensor.
at::Tensor array_of(const at::Tensor& tensor);

inline BFloat16* numbers_of(const at::Tensor& tensor) {
  return reinterpret_cast<BFloat16*>(tensor.data_ptr<at::BFloat16>());
}

/// Room on the tensor's device, freed in the order of its stream.
at::Tensor device_workspace(const at::Tensor& beside, int64_t num_bytes);

}  // namespace msa::autograd
