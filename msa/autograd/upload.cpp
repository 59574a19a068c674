#include "msa/autograd/upload.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

namespace msa::autograd {
namespace {

template <typename T>
at::Tensor upload_list(std::span<const T> values, at::ScalarType from, at::ScalarType type,
                       at::Device device) {
  const auto size = static_cast<int64_t>(values.size());
  if (size == 0) return at::empty({0}, at::TensorOptions().dtype(type).device(device));
  const auto view = at::from_blob(const_cast<T*>(values.data()), {size}, from);
  if (device.is_cpu()) return view.to(type, /*non_blocking=*/false, /*copy=*/true);
  return upload(view, device).to(type);  // the type changes there: here it would need a copy more
}

}  // namespace

at::Tensor upload(std::span<const int32_t> values, at::ScalarType type, at::Device device) {
  return upload_list(values, at::kInt, type, device);
}

at::Tensor upload(std::span<const int64_t> values, at::ScalarType type, at::Device device) {
  return upload_list(values, at::kLong, type, device);
}

at::Tensor upload(std::span<const float> values, at::ScalarType type, at::Device device) {
  return upload_list(values, at::kFloat, type, device);
}

at::Tensor upload(const at::Tensor& values, at::Device device) {
  if (device.is_cpu() || values.numel() == 0) return values.to(device);
  const auto pinned = at::empty(values.sizes(), values.options().pinned_memory(true));
  pinned.copy_(values);
  return pinned.to(device, /*non_blocking=*/true);
}

}  // namespace msa::autograd
