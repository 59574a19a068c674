#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/gpu.h"

namespace msa::kernels {
namespace {

TEST(GpuCuda, OpensTheFirstDeviceOrSaysWhatIsMissing) {
  if (!has_device()) {
    try {
      Gpu::open();
      ADD_FAILURE() << "opened a GPU that the runtime does not see";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDevice);
      EXPECT_THAT(error.what(), testing::StartsWith("no GPU: "));
    }
    return;
  }
  const auto gpu = Gpu::open();
  EXPECT_GE(gpu->facts().capability, 80);
  EXPECT_GT(gpu->facts().multiprocessors, 0);
  EXPECT_GT(gpu->facts().free_bytes, 0);
  EXPECT_LE(gpu->facts().free_bytes, gpu->facts().memory_bytes);
}

TEST(GpuCuda, ABufferKeepsItsBytesAndALargeOneIsRefusedByName) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const auto gpu = Gpu::open();
  const std::vector<int> values{1, -2, 3};
  GpuBuffer buffer(*gpu, 12);
  buffer.copy_from_host(values.data());
  const GpuBuffer moved = std::move(buffer);
  std::vector<int> back(3);
  moved.copy_to_host(back.data());
  EXPECT_EQ(back, values);
  try {
    GpuBuffer(*gpu, int64_t{1} << 50);
    ADD_FAILURE() << "a petabyte was given";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("no room for 1125899906842624 bytes"));
  }
  EXPECT_EQ(GpuBuffer(*gpu, 0).data(), nullptr);
}

}  // namespace
}  // namespace msa::kernels
