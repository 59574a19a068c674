#include "msa/autograd/device_kernels.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <memory>

#include "msa/autograd/kernel_arrays.h"
#include "msa/base/error.h"
#include "msa/kernels/gpu.h"

namespace msa::autograd {
namespace {

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

}  // namespace msa::autograd
