#pragma once
// What kernels' declarations ask of a call, checked.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::wiring {

/// Thrown as Error(kInternal) by a call that its kernel does not allow.
template <typename... Parts>
void expect(bool holds, const Parts&... parts) {
  if (!holds) throw Error(ErrorCode::kInternal, parts...);
}

/// How often each kernel has been called.
std::map<std::string, int64_t>& kernel_calls();

/// The arrays of one call. Each must be allocated to its last number and begin at a multiple of 16
/// bytes; none that is written may touch another, unless it may be that other.
class CallArrays {
 public:
  /// Counts the call.
  CallArrays(const char* kernel, kernels::CudaStream stream);

  template <typename Number>
  void reads(const char* name, const Number* array, int64_t count) {
    add({name, reinterpret_cast<const std::byte*>(array), count * int64_t{sizeof(Number)}}, {});
  }

  /// After all that is read.
  template <typename Number>
  void writes(const char* name, Number* array, int64_t count,
              std::initializer_list<const void*> may_be = {}) {
    Array written{name, reinterpret_cast<const std::byte*>(array), count * int64_t{sizeof(Number)}};
    written.is_written = true;
    add(written, may_be);
  }

  /// Room for `num_bytes`, which is filled with what is no number.
  void uses_workspace(void* workspace, int64_t num_bytes);

 private:
  struct Array {
    const char* name = nullptr;
    const std::byte* begin = nullptr;
    int64_t num_bytes = 0;
    bool is_written = false;
  };

  void add(const Array& array, std::initializer_list<const void*> may_be);

  const char* kernel_;
  std::vector<Array> arrays_;
};

}  // namespace msa::wiring
