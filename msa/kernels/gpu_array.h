#pragma once
// Device memory of one type.

#include <cstdint>
#include <span>

#include "msa/kernels/gpu.h"

namespace msa::kernels {

template <typename Value>
class GpuArray {
 public:
  GpuArray() = default;

  /// Not set. Throws as GpuBuffer.
  GpuArray(const Gpu& gpu, int64_t count)
      : buffer_(gpu, count * static_cast<int64_t>(sizeof(Value))) {}

  /// Copies `values` and waits.
  GpuArray(const Gpu& gpu, std::span<const Value> values)
      : GpuArray(gpu, static_cast<int64_t>(values.size())) {
    if (!values.empty()) buffer_.copy_from_host(values.data());
  }

  Value* data() const { return reinterpret_cast<Value*>(buffer_.data()); }
  int64_t size() const { return buffer_.size() / static_cast<int64_t>(sizeof(Value)); }
  int64_t num_bytes() const { return buffer_.size(); }

  /// Copies all and waits, also for what was queued on the default stream.
  void copy_to_host(Value* to) const { buffer_.copy_to_host(to); }

 private:
  GpuBuffer buffer_;
};

}  // namespace msa::kernels
