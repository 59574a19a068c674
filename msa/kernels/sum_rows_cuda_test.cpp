#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/sum_rows.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

TEST(SumRowsCuda, SumsEqualADoubleLoopAndRepeat) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const int64_t width : {8, 24, 128, 1024, 2560}) {
    // None, few and many rows; places with many stand side by side, too.
    std::vector<int32_t> offsets{0};
    for (int n = 0; n < 700; ++n) {
      offsets.push_back(offsets.back() + (n % 97 < 3 ? 300 + n % 7 : n % 500 == 9 ? 33 : n % 3));
    }
    const auto num_sums = static_cast<int64_t>(offsets.size()) - 1;
    std::vector<int64_t> order(offsets.back());
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(5));
    const auto x = rounded(random_floats(order.size() * width, 3));
    std::vector<double> wanted(num_sums * width);
    for (int64_t n = 0; n < num_sums; ++n) {
      for (int32_t i = offsets[n]; i < offsets[n + 1]; ++i) {
        for (int64_t f = 0; f < width; ++f) {
          wanted[n * width + f] += to_float(x[order[i] * width + f]);
        }
      }
    }
    const auto device_x = to_device(x);
    const auto device_order = to_device(order);
    const auto device_offsets = to_device(offsets);
    std::vector<float> before;
    for (const bool is_repeated : {false, true}) {
      const auto sum = unwritten_array<BFloat16>(wanted.size());
      sum_rows_cuda({.x = device_x.get(),
                     .order = device_order.get(),
                     .offsets = device_offsets.get(),
                     .sum = sum.get(),
                     .num_sums = num_sums,
                     .width = width},
                    nullptr);
      const auto got = widened(to_host(sum, wanted.size()));
      expect_near(got, wanted, {.relative = 1.0 / 256, .absolute = 1e-4},
                  "rows of " + std::to_string(width));
      if (is_repeated) {
        EXPECT_EQ(got, before) << "rows of " << width;
      }
      before = got;
    }
  }
}

TEST(SumRowsCuda, OtherRowsAreRefused) {
  EXPECT_THROW(sum_rows_cuda({.num_sums = 1, .width = 12}, nullptr), Error);
  EXPECT_THROW(sum_rows_cuda({.num_sums = int64_t{1} << 32, .width = 8}, nullptr), Error);
}

}  // namespace
}  // namespace msa::kernels
