#include "msa/autograd/kernel_arrays.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace msa::autograd {
namespace {

constexpr uintptr_t kAlignment = 16;

}  // namespace

bool is_aligned(const at::Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % kAlignment == 0;
}

bool is_float_array(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kFloat && tensor.is_contiguous() && is_aligned(tensor);
}

at::Tensor array_of(const at::Tensor& tensor) {
  const auto array = tensor.contiguous();
  return is_aligned(array) ? array : array.clone();
}

at::Tensor device_workspace(const at::Tensor& beside, int64_t num_bytes) {
  return at::empty({num_bytes}, beside.options().dtype(at::kByte));
}

}  // namespace msa::autograd
