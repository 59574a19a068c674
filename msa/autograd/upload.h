#pragma once
// Host values on their way to a device, without waiting for it.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace msa::autograd {

/// A tensor [n] of the values, of type `type`, on `device`. A GPU gets them through pinned memory
/// in the order of its current stream: the call does not wait for what runs there, and `values` may
/// go at once.
at::Tensor upload(std::span<const int32_t> values, at::ScalarType type, at::Device device);
at::Tensor upload(std::span<const int64_t> values, at::ScalarType type, at::Device device);
at::Tensor upload(std::span<const float> values, at::ScalarType type, at::Device device);

/// The same of a tensor on the CPU, with its own type and shape. For the CPU it is that tensor.
at::Tensor upload(const at::Tensor& values, at::Device device);

}  // namespace msa::autograd
