#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/device_rows.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

// float32 sums in another order; bfloat16 keeps 8 bits.
constexpr Tolerance kFloatTolerance{.relative = 2e-6, .absolute = 2e-9};
constexpr Tolerance kBFloat16Tolerance{.relative = 1.0 / 256, .absolute = 1e-3 / 256};

TEST(DeviceRowsCuda, EmbeddedRowsAreThoseOfTheTable) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kRows = 50;
  const std::vector<int32_t> token{49, 0, 7, 7, 13};
  for (const int64_t dim : {8, 264, 2560, 8200}) {
    const auto table = rounded(random_floats(kRows * dim, 3));
    const auto wide_table = widened(table);
    const auto device_table = to_device(table);
    const auto device_wide_table = to_device(wide_table);
    const auto device_token = to_device(token);
    for (const NumberType type : {NumberType::kBFloat16, NumberType::kFloat32}) {
      const auto x = unwritten_array<float>(token.size() * dim);
      embed_rows_cuda(
          {.embedding = type == NumberType::kBFloat16 ? static_cast<const void*>(device_table.get())
                                                      : device_wide_table.get(),
           .type = type,
           .token = device_token.get(),
           .x = x.get(),
           .num_tokens = static_cast<int64_t>(token.size()),
           .dim = dim},
          nullptr);
      const auto got = to_host(x, token.size() * dim);
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i], wide_table[token[i / dim] * dim + i % dim]) << "dim " << dim;
      }
    }
  }
}

TEST(DeviceRowsCuda, RmsNormEqualsADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  constexpr float kEps = 1e-6F;
  constexpr int64_t kTokens = 7;
  for (const int64_t dim : {8, 72, 256, 1024, 2560, 4104, 16384}) {
    const auto x = random_floats(kTokens * dim, 5, 3);
    const auto weight = random_floats(dim, 6);
    std::vector<double> wanted(kTokens * dim);
    for (int64_t t = 0; t < kTokens; ++t) {
      double squares = 0;
      for (int64_t i = 0; i < dim; ++i) squares += std::pow<double>(x[t * dim + i], 2);
      const double factor = 1 / std::sqrt(squares / static_cast<double>(dim) + kEps);
      for (int64_t i = 0; i < dim; ++i) {
        wanted[t * dim + i] = x[t * dim + i] * factor * weight[i];
      }
    }
    const auto device_x = to_device(x);
    const auto device_weight = to_device(weight);
    const auto wide = unwritten_array<float>(wanted.size());
    const auto narrow = unwritten_array<BFloat16>(wanted.size());
    RmsNormParams params{.x = device_x.get(),
                         .weight = device_weight.get(),
                         .out = wide.get(),
                         .out_type = NumberType::kFloat32,
                         .dim = dim,
                         .eps = kEps};
    rms_norm_cuda(params, kTokens, nullptr);
    expect_near(to_host(wide, wanted.size()), wanted, kFloatTolerance,
                "float32, dim " + std::to_string(dim));
    params.out = narrow.get();
    params.out_type = NumberType::kBFloat16;
    rms_norm_cuda(params, kTokens, nullptr);
    expect_near(widened(to_host(narrow, wanted.size())), wanted, kBFloat16Tolerance,
                "bfloat16, dim " + std::to_string(dim));
  }
}

TEST(DeviceRowsCuda, SwigluEqualsADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kTokens = 5;
  for (const int64_t dim : {8, 264, 2056, 9728}) {
    // Beyond +-88, exp() of a float32 overflows.
    auto narrow_in = rounded(random_floats(kTokens * 2 * dim, 8, 4));
    narrow_in[0] = to_bfloat16(-200);
    narrow_in[1] = to_bfloat16(200);
    const auto wide_in = widened(narrow_in);
    std::vector<double> wanted(kTokens * dim);
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t i = 0; i < dim; ++i) {
        const double gate = wide_in[t * 2 * dim + i];
        wanted[t * dim + i] = gate / (1 + std::exp(-gate)) * wide_in[t * 2 * dim + dim + i];
      }
    }
    const auto device_narrow = to_device(narrow_in);
    const auto device_wide = to_device(wide_in);
    const auto narrow = unwritten_array<BFloat16>(wanted.size());
    const auto wide = unwritten_array<float>(wanted.size());
    swiglu_cuda({.gate_up = device_narrow.get(),
                 .out = narrow.get(),
                 .type = NumberType::kBFloat16,
                 .dim = dim},
                kTokens, nullptr);
    expect_near(widened(to_host(narrow, wanted.size())), wanted, kBFloat16Tolerance,
                "bfloat16, dim " + std::to_string(dim));
    swiglu_cuda(
        {.gate_up = device_wide.get(), .out = wide.get(), .type = NumberType::kFloat32, .dim = dim},
        kTokens, nullptr);
    expect_near(to_host(wide, wanted.size()), wanted, kFloatTolerance,
                "float32, dim " + std::to_string(dim));
  }
}

TEST(DeviceRowsCuda, RowsThatAreNoWholeEightsAreRefused) {
  EXPECT_THROW(rms_norm_cuda({.dim = 12}, 1, nullptr), Error);
  EXPECT_THROW(rms_norm_cuda({.dim = kLongestNormedRow + 8}, 1, nullptr), Error);
  EXPECT_THROW(swiglu_cuda({.dim = 4}, 1, nullptr), Error);
  EXPECT_THROW(embed_rows_cuda({.num_tokens = 1, .dim = 9}, nullptr), Error);
}

}  // namespace
}  // namespace msa::kernels
