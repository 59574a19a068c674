#pragma once
// What the tests of CUDA kernels share: arrays on the device, whether there is one, and how near
// their results must be.

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
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

/// Bits that are a NaN as float32 and as bfloat16, so that what is not written shows.
template <typename Value>
DeviceArray<Value> unwritten_array(size_t count) {
  auto array = device_array<Value>(count);
  EXPECT_EQ(cudaMemset(array.get(), 0xff, count * sizeof(Value)), cudaSuccess);
  return array;
}

/// What is wanted of results that are compared with a reference in double precision.
struct Tolerance {
  double relative = 0;
  double absolute = 0;
};

/// bfloat16 keeps 8 bits.
constexpr Tolerance kRounded{.relative = 1.0 / 256, .absolute = 1e-5};

/// Sums of values about 1 in float32, in another order.
constexpr Tolerance kSummed{.relative = 1e-5, .absolute = 1e-4};

inline void expect_near(const std::vector<float>& got, const std::vector<double>& wanted,
                        const Tolerance& tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double allowed = tolerance.absolute + tolerance.relative * std::abs(wanted[i]);
    ASSERT_LE(std::abs(got[i] - wanted[i]), allowed)
        << what << " at " << i << ": " << got[i] << ", wanted " << wanted[i];
  }
}

}  // namespace msa::kernels
