#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/gpu.h"
#include "msa/kernels/gpu_array.h"
#include "msa/kernels/gpu_graph.h"

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

TEST(GpuCuda, AGraphRunsOnlyWhenLaunchedAndFollowsWhatItsMemoryHolds) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const auto gpu = Gpu::open();
  const CudaLibrary& library = gpu->library();
  const GpuStream stream(*gpu);
  const std::vector<int> first{1, 2, 3, 4};
  const std::vector<int> second{5, 6, 7, 8};
  const std::vector<int> nothing(4);
  const GpuArray<int> from(*gpu, std::span(first));
  const GpuArray<int> to(*gpu, std::span(nothing));
  const auto held = [&] {
    std::vector<int> values(4);
    to.copy_to_host(values.data());
    return values;
  };
  const GpuGraph graph(*gpu, stream.get(), [&] {
    library.copy_async(to.data(), from.data(), from.num_bytes(), stream.get());
  });
  stream.synchronize();
  EXPECT_EQ(held(), nothing);
  for (const auto& values : {first, second}) {
    library.copy(from.data(), values.data(), from.num_bytes());
    graph.launch(stream.get());
    stream.synchronize();
    EXPECT_EQ(held(), values);
  }
}

TEST(GpuCuda, ARecordingThatFailsLeavesTheStreamUsable) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const auto gpu = Gpu::open();
  const GpuStream stream(*gpu);
  const std::vector<int> before{1, 2};
  const GpuArray<int> memory(*gpu, std::span(before));
  const auto clear = [&] { gpu->library().clear(memory.data(), memory.num_bytes(), stream.get()); };
  EXPECT_THROW(GpuGraph(*gpu, stream.get(),
                        [&] {
                          clear();
                          throw Error(ErrorCode::kInternal, "on purpose");
                        }),
               Error);
  std::vector<int> values(2);
  memory.copy_to_host(values.data());
  EXPECT_EQ(values, before);
  clear();
  stream.synchronize();
  memory.copy_to_host(values.data());
  EXPECT_EQ(values, std::vector<int>(2));
}

}  // namespace
}  // namespace msa::kernels
