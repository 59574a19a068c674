#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/pool_rows.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

constexpr int64_t kWidths[] = {8, 128, 1024};
constexpr int64_t kBefore = 8;  // numbers of something else in front of a row's, and as many behind

/// Chunks of 64 rows and fewer, some without any.
std::vector<int32_t> chunk_offsets() {
  std::vector<int32_t> offsets{0};
  for (int i = 0; i < 40; ++i) {
    for (const int count : {64, 1, 0, 16, 7}) offsets.push_back(offsets.back() + count);
  }
  return offsets;
}

TEST(PoolRowsCuda, MeansEqualADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const auto offsets = chunk_offsets();
  const auto num_chunks = static_cast<int64_t>(offsets.size()) - 1;
  const auto device_offsets = to_device(offsets);
  for (const int64_t width : kWidths) {
    const int64_t stride = width + 2 * kBefore;
    PoolRowsParams params{.num_planes = kMostPooledPlanes,
                          .chunk_offsets = device_offsets.get(),
                          .num_chunks = num_chunks,
                          .width = width};
    std::vector<std::vector<BFloat16>> x;
    std::vector<DeviceArray<BFloat16>> device_x;
    std::vector<DeviceArray<BFloat16>> pooled;
    for (int i = 0; i < kMostPooledPlanes; ++i) {
      x.push_back(rounded(random_floats(offsets.back() * stride, 3 + i)));
      device_x.push_back(to_device(x.back()));
      pooled.push_back(unwritten_array<BFloat16>(num_chunks * width));
      params.plane[i] = {device_x.back().get() + kBefore, stride, pooled.back().get()};
    }
    pool_rows_cuda(params, nullptr);
    for (int i = 0; i < kMostPooledPlanes; ++i) {
      std::vector<double> wanted(num_chunks * width);
      for (int64_t c = 0; c < num_chunks; ++c) {
        for (int64_t r = offsets[c]; r < offsets[c + 1]; ++r) {
          for (int64_t f = 0; f < width; ++f) {
            wanted[c * width + f] += static_cast<double>(to_float(x[i][r * stride + kBefore + f])) /
                                     (offsets[c + 1] - offsets[c]);
          }
        }
      }
      expect_near(widened(to_host(pooled[i], wanted.size())), wanted, kRounded,
                  "plane " + std::to_string(i) + " of " + std::to_string(width));
    }
  }
}

TEST(PoolRowsCuda, GradientsEqualADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const auto offsets = chunk_offsets();
  const auto num_chunks = static_cast<int64_t>(offsets.size()) - 1;
  const auto device_offsets = to_device(offsets);
  for (const int64_t width : kWidths) {
    const int64_t stride = width + 2 * kBefore;
    const auto before = rounded(random_floats(offsets.back() * stride, 4));
    const auto pooled_gradient = rounded(random_floats(num_chunks * width, 5));
    const auto device_gradient = to_device(pooled_gradient);
    for (const bool adds : {false, true}) {
      const auto x_gradient = to_device(before);
      PoolRowsGradientParams params{.num_planes = 1,
                                    .chunk_offsets = device_offsets.get(),
                                    .num_chunks = num_chunks,
                                    .width = width};
      params.plane[0] = {device_gradient.get(), x_gradient.get() + kBefore, stride, adds};
      pool_rows_gradient_cuda(params, nullptr);
      const auto wide = widened(before);  // what stands between the rows stays
      std::vector<double> wanted(wide.begin(), wide.end());
      for (int64_t c = 0; c < num_chunks; ++c) {
        for (int64_t r = offsets[c]; r < offsets[c + 1]; ++r) {
          for (int64_t f = 0; f < width; ++f) {
            double& sum = wanted[r * stride + kBefore + f];
            sum = (adds ? sum : 0) + static_cast<double>(to_float(pooled_gradient[c * width + f])) /
                                         (offsets[c + 1] - offsets[c]);
          }
        }
      }
      expect_near(widened(to_host(x_gradient, wanted.size())), wanted, kRounded,
                  (adds ? "added, " : "written, ") + std::to_string(width));
    }
  }
}

TEST(PoolRowsCuda, OtherShapesAreRefused) {
  const auto refuse = [](int num_planes, int64_t width, int64_t stride) {
    PoolRowsParams params{.num_planes = num_planes, .num_chunks = 1, .width = width};
    params.plane[0].x_stride = stride;
    EXPECT_THROW(pool_rows_cuda(params, nullptr), Error);
    PoolRowsGradientParams gradient{.num_planes = num_planes, .num_chunks = 1, .width = width};
    gradient.plane[0].x_stride = stride;
    EXPECT_THROW(pool_rows_gradient_cuda(gradient, nullptr), Error);
  };
  refuse(0, 8, 8);
  refuse(kMostPooledPlanes + 1, 8, 8);
  refuse(1, 12, 16);
  refuse(1, 8, 12);
}

}  // namespace
}  // namespace msa::kernels
