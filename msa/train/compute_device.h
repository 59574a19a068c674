#pragma once
// Where training computes: the CPU, or a GPU through torch's CUDA half, loaded when it is wanted.

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

namespace msa::train {

/// `name` is "cpu", "gpu", or "auto", which is the GPU where all that it needs is there. For a GPU
/// libtorch_cuda.so is loaded from the folder of the torch that runs, once for the process.
/// Throws Error(kDevice) saying what is missing: torch's CUDA half, a driver, a GPU.
at::Device open_compute_device(std::string_view name);

/// The GPU's name, "NVIDIA H200"; empty for the CPU, and where nobody knows it.
std::string name_of(at::Device device);

/// Operations a second of dense products of bfloat16 on a device of this name, as its maker states
/// them; 0 where they are not known.
double peak_flops(std::string_view device_name);

/// Returns when all that was asked of the device is done.
void wait_for(at::Device device);

}  // namespace msa::train
