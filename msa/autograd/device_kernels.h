#pragma once
// The kernels of libmsa_cuda.so for tensors of torch. Where there are none, rules are composed of
// torch's operations.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <initializer_list>
#include <string>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_library.h"

namespace msa::autograd {

/// The kernels, if all `values` are bfloat16 on the first GPU and 16-byte aligned, and torch's
/// current stream is its default one, which is the kernels' null stream; else null. The first call
/// with a GPU's tensors opens the library. From any thread.
const kernels::CudaLibrary* device_kernels(std::initializer_list<at::Tensor> values);

/// The kernels, for a backward pass whose forward pass had them.
const kernels::CudaLibrary& opened_kernels();

/// Why a GPU's tensors have no kernels; empty if they have. Opens the library.
const std::string& missing_kernels();

/// A float32 tensor that a kernel can read where it lies.
bool is_float_array(const at::Tensor& tensor);

inline BFloat16* numbers_of(const at::Tensor& tensor) {
  return reinterpret_cast<BFloat16*>(tensor.data_ptr<at::BFloat16>());
}

/// Room on the tensor's device, freed in the order of its stream.
at::Tensor device_workspace(const at::Tensor& beside, int64_t num_bytes);

}  // namespace msa::autograd
