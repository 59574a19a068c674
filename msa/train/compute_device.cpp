#include "msa/train/compute_device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <dlfcn.h>

#include <filesystem>
#include <optional>
#include <string>

#include "msa/base/error.h"
#include "msa/kernels/gpu.h"

namespace msa::train {
namespace {

/// The folder of the torch that this program runs with.
std::filesystem::path torch_folder() {
  Dl_info info{};
  const auto* symbol = reinterpret_cast<const void*>(&at::get_num_threads);
  MSA_CHECK(::dladdr(symbol, &info) != 0 && info.dli_fname != nullptr, "torch has no file");
  return std::filesystem::path(info.dli_fname).parent_path();
}

/// Loads torch's CUDA half. Returns what is missing, or nothing.
std::optional<std::string> load_cuda() {
  const auto library = torch_folder() / "libtorch_cuda.so";
  // Global: its kernels register with torch's dispatcher, and nobody looks one up by name.
  if (::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE) == nullptr) {
    return std::string("torch's CUDA half does not load: ") + ::dlerror();
  }
  const auto* guard = c10::impl::getDeviceGuardImpl(at::kCUDA);
  if (guard->deviceCount() == 0) return "no GPU, or no driver for it";
  at::globalContext().lazyInitDevice(at::kCUDA);
  return std::nullopt;
}

struct Peak {
  std::string_view name;  // part of the device's
  double flops;
};

/// The first that fits counts.
constexpr Peak kPeaks[] = {
    {"H100 PCIe", 756e12}, {"H100 NVL", 835e12}, {"H200 NVL", 835e12}, {"H100", 989e12},
    {"H200", 989e12},      {"A100", 312e12},     {"A800", 312e12},
};

}  // namespace

at::Device open_compute_device(std::string_view name) {
  if (name == "cpu") return at::kCPU;
  MSA_CHECK(name == "gpu" || name == "auto", "device must be auto, cpu or gpu, got ", name);
  static const std::optional<std::string> missing = load_cuda();
  if (!missing) return {at::kCUDA, 0};
  if (name == "auto") return at::kCPU;
  throw Error(ErrorCode::kDevice, "training on a GPU: ", *missing);
}

std::string name_of(at::Device device) {
  if (device.is_cpu()) return {};
  try {
    return kernels::Gpu::open()->facts().name;
  } catch (const Error&) {
    return {};  // training goes on without the library
  }
}

double peak_flops(std::string_view device_name) {
  for (const Peak& peak : kPeaks) {
    if (device_name.find(peak.name) != std::string_view::npos) return peak.flops;
  }
  return 0;
}

void wait_for(at::Device device) {
  if (device.is_cpu()) return;
  c10::impl::getDeviceGuardImpl(device.type())->synchronizeDevice(device.index());
}

}  // namespace msa::train
