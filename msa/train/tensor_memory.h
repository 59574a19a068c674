#pragma once
// Bytes that torch's tensors take on a device: now, and at most.

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>

namespace msa::train {

/// On a GPU all tensors of the process count. On the CPU all that are made while it lives do, at
/// every allocation; only one may live there at a time, and tensors that outlive it must not be
/// resized.
class TensorMemory {
 public:
  explicit TensorMemory(c10::Device device);
  ~TensorMemory();
  TensorMemory(const TensorMemory&) = delete;
  TensorMemory& operator=(const TensorMemory&) = delete;

  /// Of tensors that are there now.
  int64_t bytes() const;

  /// The most since this was made or forget_peak was called.
  int64_t peak_bytes() const;
  void forget_peak();

 private:
  class Counter;

  c10::Device device_;
  std::unique_ptr<Counter> counter_;  // null on a GPU, whose allocator counts
};

}  // namespace msa::train
