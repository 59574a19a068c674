#include "tests/parity/failing_library.h"

#include <dlfcn.h>

#include <atomic>
#include <filesystem>

#include "msa/base/error.h"
#include "msa/kernels/cuda_library.h"

namespace {

std::atomic<int64_t> allocations{0};
std::atomic<int64_t> first_failure{0};
std::atomic<int64_t> end_of_failures{0};

/// The library that stands beside this one.
const msa::kernels::CudaLibrary& real_library() {
  static const msa::kernels::CudaLibrary* library = [] {
    Dl_info self{};
    MSA_CHECK(dladdr(reinterpret_cast<void*>(&msa_fail_allocations), &self) != 0, "dladdr failed");
    const auto path = std::filesystem::path(self.dli_fname).parent_path() / "libmsa_cuda.so";
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    MSA_CHECK(handle != nullptr, dlerror());
    const auto get = reinterpret_cast<decltype(&msa_cuda_library)>(
        dlsym(handle, msa::kernels::kCudaLibrarySymbol));
    MSA_CHECK(get != nullptr, dlerror());
    return get();
  }();
  return *library;
}

bool fails() {
  const int64_t number = allocations++;
  return number >= first_failure && number < end_of_failures;
}

void* allocate(int64_t num_bytes) { return fails() ? nullptr : real_library().allocate(num_bytes); }

void* allocate_host(int64_t num_bytes) {
  return fails() ? nullptr : real_library().allocate_host(num_bytes);
}

}  // namespace

extern "C" void msa_fail_allocations(int64_t number, int64_t count) {
  end_of_failures = 0;
  allocations = 0;
  first_failure = number;
  end_of_failures = number + count;
}

extern "C" int64_t msa_allocations_since() { return allocations; }

extern "C" const msa::kernels::CudaLibrary* msa_cuda_library() {
  static const msa::kernels::CudaLibrary library = [] {
    auto copy = real_library();
    copy.allocate = &allocate;
    copy.allocate_host = &allocate_host;
    return copy;
  }();
  return &library;
}
