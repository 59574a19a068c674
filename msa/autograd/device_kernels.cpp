#include "msa/autograd/device_kernels.h"

#include <ATen/ATen.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <memory>

#include "msa/base/error.h"
#include "msa/kernels/gpu.h"

namespace msa::autograd {
namespace {

constexpr uintptr_t kAlignment = 16;

struct OpenedLibrary {
  OpenedLibrary() {
    try {
      gpu = kernels::Gpu::open();
    } catch (const Error& error) {
      missing = error.what();
    }
  }

  std::unique_ptr<kernels::Gpu> gpu;
  std::string missing;
};

const OpenedLibrary& opened() {
  static const OpenedLibrary library;
  return library;
}

bool is_aligned(const at::Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % kAlignment == 0;
}

}  // namespace

const kernels::CudaLibrary* device_kernels(std::initializer_list<at::Tensor> values) {
  for (const auto& tensor : values) {
    if (!tensor.is_cuda() || tensor.get_device() != 0 || tensor.scalar_type() != at::kBFloat16 ||
        !is_aligned(tensor)) {
      return nullptr;
    }
  }
  const auto* guard = c10::impl::getDeviceGuardImpl(at::kCUDA);
  const at::Device device = values.begin()->device();
  if (guard->getStream(device) != guard->getDefaultStream(device)) return nullptr;
  return opened().gpu == nullptr ? nullptr : &opened().gpu->library();
}

const kernels::CudaLibrary& opened_kernels() {
  MSA_CHECK(opened().gpu != nullptr, opened().missing);
  return opened().gpu->library();
}

const std::string& missing_kernels() { return opened().missing; }

bool is_float_array(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kFloat && tensor.is_contiguous() && is_aligned(tensor);
}

at::Tensor device_workspace(const at::Tensor& beside, int64_t num_bytes) {
  return at::empty({num_bytes}, beside.options().dtype(at::kByte));
}

}  // namespace msa::autograd
