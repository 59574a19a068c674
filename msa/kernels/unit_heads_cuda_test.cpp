#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/test_values.h"
#include "msa/kernels/unit_heads.h"

namespace msa::kernels {
namespace {

TEST(UnitHeadsCuda, HeadsAndGradientsEqualADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kHeads = 71;
  for (const int64_t dim : {8, 16, 24, 64, 96, 128, 256}) {
    auto x = rounded(random_floats(kHeads * dim, 3));
    std::fill_n(x.begin() + 5 * dim, dim, to_bfloat16(0));  // a head without direction
    const auto gradient = rounded(random_floats(kHeads * dim, 4));
    std::vector<double> wanted;
    std::vector<double> wanted_gradient;
    for (int64_t n = 0; n < kHeads; ++n) {
      double squares = 0;
      double dot = 0;
      for (int64_t i = n * dim; i < (n + 1) * dim; ++i) {
        squares += std::pow<double>(to_float(x[i]), 2);
        dot += static_cast<double>(to_float(x[i])) * to_float(gradient[i]);
      }
      const double length = std::sqrt(squares);
      for (int64_t i = n * dim; i < (n + 1) * dim; ++i) {
        const double unit = length == 0 ? 0 : to_float(x[i]) / length;
        wanted.push_back(unit);
        wanted_gradient.push_back(
            length == 0 ? 0 : (to_float(gradient[i]) - unit * dot / length) / length);
      }
    }
    const std::string name = "heads of " + std::to_string(dim);
    const auto device_x = to_device(x);
    const auto device_gradient = to_device(gradient);
    const auto out = unwritten_array<BFloat16>(x.size());
    const auto x_gradient = unwritten_array<BFloat16>(x.size());
    unit_heads_cuda({.x = device_x.get(), .out = out.get(), .num_heads = kHeads, .head_dim = dim},
                    nullptr);
    unit_heads_gradient_cuda({.x = device_x.get(),
                              .out_gradient = device_gradient.get(),
                              .x_gradient = x_gradient.get(),
                              .num_heads = kHeads,
                              .head_dim = dim},
                             nullptr);
    expect_near(widened(to_host(out, x.size())), wanted, kRounded, name);
    expect_near(widened(to_host(x_gradient, x.size())), wanted_gradient, kRounded, name);
  }
}

TEST(UnitHeadsCuda, OtherHeadsAreRefused) {
  for (const int64_t dim : {int64_t{0}, int64_t{12}, kLargestUnitHead + 8}) {
    EXPECT_THROW(unit_heads_cuda({.num_heads = 1, .head_dim = dim}, nullptr), Error);
    EXPECT_THROW(unit_heads_gradient_cuda({.num_heads = 1, .head_dim = dim}, nullptr), Error);
  }
}

}  // namespace
}  // namespace msa::kernels
