#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/swiglu_gradient.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

TEST(SwigluGradientCuda, EqualsADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kTokens = 5;
  for (const int64_t dim : {8, 264, 2056, 9728}) {
    // Beyond +-88, exp() of a float32 overflows.
    auto gate_up = rounded(random_floats(kTokens * 2 * dim, 8, 4));
    gate_up[0] = to_bfloat16(-200);
    gate_up[1] = to_bfloat16(200);
    const auto out_gradient = rounded(random_floats(kTokens * dim, 9));
    std::vector<double> wanted(gate_up.size());
    std::vector<double> wanted_out;
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t i = 0; i < dim; ++i) {
        const int64_t place = t * 2 * dim + i;
        const double gate = to_float(gate_up[place]);
        const double up = to_float(gate_up[place + dim]);
        const double gradient = to_float(out_gradient[t * dim + i]);
        const double sigmoid = 1 / (1 + std::exp(-gate));
        wanted[place] = gradient * up * (sigmoid + gate * sigmoid * (1 - sigmoid));
        wanted[place + dim] = gradient * gate * sigmoid;
        wanted_out.push_back(gate * sigmoid * up);
      }
    }
    const std::string name = "rows of " + std::to_string(dim);
    const auto device_gate_up = to_device(gate_up);
    const auto device_gradient = to_device(out_gradient);
    const auto gate_up_gradient = unwritten_array<BFloat16>(gate_up.size());
    SwigluGradientParams params{.gate_up = device_gate_up.get(),
                                .out_gradient = device_gradient.get(),
                                .gate_up_gradient = gate_up_gradient.get(),
                                .num_tokens = kTokens,
                                .dim = dim};
    swiglu_gradient_cuda(params, nullptr);
    expect_near(widened(to_host(gate_up_gradient, wanted.size())), wanted, kRounded, name);
    // Everything in the place of what it is made from.
    params.gate_up_gradient = device_gate_up.get();
    params.out = device_gradient.get();
    swiglu_gradient_cuda(params, nullptr);
    expect_near(widened(to_host(device_gate_up, wanted.size())), wanted, kRounded, name);
    expect_near(widened(to_host(device_gradient, wanted_out.size())), wanted_out, kRounded, name);
  }
}

TEST(SwigluGradientCuda, OtherRowsAreRefused) {
  EXPECT_THROW(swiglu_gradient_cuda({.num_tokens = 1, .dim = 12}, nullptr), Error);
  EXPECT_THROW(swiglu_gradient_cuda({.num_tokens = int64_t{1} << 32, .dim = 8}, nullptr), Error);
}

}  // namespace
}  // namespace msa::kernels
