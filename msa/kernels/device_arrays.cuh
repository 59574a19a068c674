#pragma once
// What the tests of CUDA kernels share: arrays on the device, and whether there is one.

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace msa::kernels {

inline bool has_device() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

struct DeviceFree {
  void operator()(void* memory) const { cudaFree(memory); }
};

template <typename Value>
using DeviceArray = std::unique_ptr<Value, DeviceFree>;

template <typename Value>
DeviceArray<Value> device_array(size_t count) {
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, count * sizeof(Value)), cudaSuccess);
  return DeviceArray<Value>(static_cast<Value*>(memory));
}

template <typename Value>
DeviceArray<Value> to_device(const std::vector<Value>& values) {
  auto array = device_array<Value>(values.size());
  EXPECT_EQ(
      cudaMemcpy(array.get(), values.data(), values.size() * sizeof(Value), cudaMemcpyHostToDevice),
      cudaSuccess);
  return array;
}

template <typename Value>
std::vector<Value> to_host(const DeviceArray<Value>& array, size_t count) {
  std::vector<Value> values(count);
  EXPECT_EQ(cudaMemcpy(values.data(), array.get(), count * sizeof(Value), cudaMemcpyDeviceToHost),
            cudaSuccess);
  return values;
}

}  // namespace msa::kernels
