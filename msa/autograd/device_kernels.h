#pragma once
// The kernels of libmsa_cuda.so for tensors of torch. Where there are none, rules are composed of
// torch's operations.

#include <ATen/core/Tensor.h>

#include <initializer_list>
#include <string>

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

}  // namespace msa::autograd
