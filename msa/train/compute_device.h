#pragma once
// Where training computes: the CPU, or a GPU through torch's CUDA half, loaded when it is wanted.

#include <ATen/core/Tensor.h>

#include <string_view>

namespace msa::train {

/// `name` is "cpu", "gpu", or "auto", which is the GPU where all that it needs is there. For a GPU
/// libtorch_cuda.so is loaded from the folder of the torch that runs, once for the process.
/// Throws Error(kDevice) saying what is missing: torch's CUDA half, a driver, a GPU.
at::Device open_compute_device(std::string_view name);

}  // namespace msa::train
