#include "tests/wiring/call_arrays.h"

#include <algorithm>
#include <cstring>

#include "tests/wiring/host_memory.h"

namespace msa::wiring {
namespace {

constexpr uintptr_t kAlignment = 16;

}  // namespace

std::map<std::string, int64_t>& kernel_calls() {
  static std::map<std::string, int64_t> calls;
  return calls;
}

CallArrays::CallArrays(const char* kernel, kernels::CudaStream stream) : kernel_(kernel) {
  ++kernel_calls()[kernel];
  expect(stream == nullptr, kernel, ": is not on the null stream");
}

void CallArrays::uses_workspace(void* workspace, int64_t num_bytes) {
  writes("workspace", static_cast<std::byte*>(workspace), num_bytes);
  std::memset(workspace, 0xff, static_cast<size_t>(num_bytes));
}

void CallArrays::add(const Array& array, std::initializer_list<const void*> may_be) {
  if (array.num_bytes == 0) return;
  expect(array.begin != nullptr, kernel_, ": ", array.name, " is null");
  expect(reinterpret_cast<uintptr_t>(array.begin) % kAlignment == 0, kernel_, ": ", array.name,
         " is not aligned");
  expect(is_allocated(array.begin, array.num_bytes), kernel_, ": ", array.name,
         " does not have its ", array.num_bytes, " bytes");
  for (const Array& other : arrays_) {
    const bool touches =
        array.begin < other.begin + other.num_bytes && other.begin < array.begin + array.num_bytes;
    if (!touches || !(array.is_written || other.is_written)) continue;
    const bool is_that = array.begin == other.begin && array.num_bytes == other.num_bytes &&
                         std::find(may_be.begin(), may_be.end(), other.begin) != may_be.end();
    expect(is_that, kernel_, ": ", array.name, " lies over ", other.name);
  }
  arrays_.push_back(array);
}

}  // namespace msa::wiring
