#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/norm_rows.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

constexpr float kEps = 1e-6F;
constexpr int64_t kDims[] = {8, 64, 384, 512, 520, 2560, 8192};

/// Rows, and what a loop in double precision makes of them.
struct Rows {
  Rows(int64_t num_tokens, int64_t dim, bool adds)
      : num_tokens(num_tokens),
        dim(dim),
        x(rounded(random_floats(num_tokens * dim, 5, 3))),
        addend(adds ? rounded(random_floats(num_tokens * dim, 6)) : std::vector<BFloat16>()),
        weight(random_floats(dim, 7)) {
    sum = x;
    for (size_t i = 0; i < addend.size(); ++i) {
      sum[i] = to_bfloat16(to_float(x[i]) + to_float(addend[i]));
    }
    for (int64_t t = 0; t < num_tokens; ++t) {
      double squares = 0;
      for (int64_t i = 0; i < dim; ++i) squares += std::pow<double>(at(t, i), 2);
      inverse_root.push_back(1 / std::sqrt(squares / static_cast<double>(dim) + kEps));
      for (int64_t i = 0; i < dim; ++i) {
        out.push_back(at(t, i) * inverse_root.back() * weight[i]);
      }
    }
  }

  double at(int64_t t, int64_t i) const { return to_float(sum[t * dim + i]); }
  std::string name() const {
    return std::to_string(num_tokens) + " rows of " + std::to_string(dim) +
           (addend.empty() ? "" : ", added");
  }

  int64_t num_tokens;
  int64_t dim;
  std::vector<BFloat16> x;
  std::vector<BFloat16> addend;
  std::vector<float> weight;
  std::vector<BFloat16> sum;
  std::vector<double> inverse_root;
  std::vector<double> out;
};

void compare_rows(const Rows& rows) {
  const size_t count = rows.x.size();
  const auto x = to_device(rows.x);
  const auto addend = to_device(rows.addend);
  const auto weight = to_device(rows.weight);
  const auto sum = unwritten_array<BFloat16>(count);
  const auto out = unwritten_array<BFloat16>(count);
  const auto inverse_root = unwritten_array<float>(rows.num_tokens);
  norm_rows_cuda({.x = x.get(),
                  .addend = rows.addend.empty() ? nullptr : addend.get(),
                  .sum = sum.get(),
                  .weight = weight.get(),
                  .out = out.get(),
                  .inverse_root = inverse_root.get(),
                  .num_tokens = rows.num_tokens,
                  .dim = rows.dim,
                  .eps = kEps},
                 nullptr);
  expect_near(widened(to_host(out, count)), rows.out, kRounded, rows.name());
  expect_near(to_host(inverse_root, rows.num_tokens), rows.inverse_root, {.relative = 2e-6},
              rows.name());
  if (rows.addend.empty()) return;
  EXPECT_EQ(widened(to_host(sum, count)), widened(rows.sum)) << rows.name();
}

TEST(NormRowsCuda, RowsEqualADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const int64_t dim : kDims) {
    compare_rows(Rows(37, dim, false));
    compare_rows(Rows(37, dim, true));
  }
}

struct Gradients {
  std::vector<BFloat16> x;
  std::vector<float> weight;
};

/// In the place of `out_gradient`, as a caller that has no more use for it.
Gradients gradients_of(const Rows& rows, const std::vector<BFloat16>& out_gradient,
                       const std::vector<BFloat16>& addend) {
  const auto x = to_device(rows.sum);
  const auto weight = to_device(rows.weight);
  const auto inverse_root =
      to_device(std::vector<float>(rows.inverse_root.begin(), rows.inverse_root.end()));
  const auto gradient = to_device(out_gradient);
  const auto device_addend = to_device(addend);
  const auto weight_gradient = unwritten_array<float>(rows.dim);
  const auto workspace = unwritten_array<char>(norm_rows_gradient_workspace_bytes(rows.dim));
  norm_rows_gradient_cuda({.x = x.get(),
                           .weight = weight.get(),
                           .inverse_root = inverse_root.get(),
                           .out_gradient = gradient.get(),
                           .addend = addend.empty() ? nullptr : device_addend.get(),
                           .x_gradient = gradient.get(),
                           .weight_gradient = weight_gradient.get(),
                           .workspace = workspace.get(),
                           .num_tokens = rows.num_tokens,
                           .dim = rows.dim},
                          nullptr);
  return {to_host(gradient, rows.x.size()), to_host(weight_gradient, rows.dim)};
}

void compare_gradients(const Rows& rows, bool adds) {
  const auto out_gradient = rounded(random_floats(rows.x.size(), 8));
  const auto addend = adds ? rounded(random_floats(rows.x.size(), 9)) : std::vector<BFloat16>();
  std::vector<double> wanted;
  std::vector<double> wanted_weight(rows.dim);
  for (int64_t t = 0; t < rows.num_tokens; ++t) {
    const double root = rows.inverse_root[t];
    const auto gradient = [&](int64_t i) { return to_float(out_gradient[t * rows.dim + i]); };
    double mean = 0;
    for (int64_t i = 0; i < rows.dim; ++i) {
      mean += gradient(i) * rows.weight[i] * rows.at(t, i) * root / static_cast<double>(rows.dim);
      wanted_weight[i] += gradient(i) * rows.at(t, i) * root;
    }
    for (int64_t i = 0; i < rows.dim; ++i) {
      wanted.push_back(root * (gradient(i) * rows.weight[i] - rows.at(t, i) * root * mean) +
                       (adds ? to_float(addend[t * rows.dim + i]) : 0));
    }
  }
  const Gradients got = gradients_of(rows, out_gradient, addend);
  expect_near(widened(got.x), wanted, kRounded, rows.name());
  expect_near(got.weight, wanted_weight, kSummed, rows.name());
  const Gradients again = gradients_of(rows, out_gradient, addend);
  EXPECT_EQ(widened(got.x), widened(again.x)) << rows.name();
  EXPECT_EQ(got.weight, again.weight) << rows.name();
}

TEST(NormRowsCuda, GradientsEqualADoubleLoopAndRepeat) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const int64_t dim : kDims) {
    for (const int64_t num_tokens : {1, 37, dim <= 520 ? 5000 : 700}) {
      compare_gradients(Rows(num_tokens, dim, false), false);
    }
    compare_gradients(Rows(37, dim, false), true);
  }
}

TEST(NormRowsCuda, OfNoRowsTheWeightHasNoGradient) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const Gradients got = gradients_of(Rows(0, 384, false), {}, {});
  EXPECT_EQ(got.weight, std::vector<float>(384, 0.0F));
}

TEST(NormRowsCuda, WhatIsNoNumberStaysInItsRow) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kTokens = 5;
  for (const int64_t dim : {384, 2560}) {
    const Rows rows(kTokens, dim, false);
    auto out_gradient = rounded(random_floats(rows.x.size(), 8));
    out_gradient[2 * dim + 3] = to_bfloat16(NAN);
    const auto got = widened(gradients_of(rows, out_gradient, {}).x);
    for (int64_t i = 0; i < kTokens * dim; ++i) {
      ASSERT_EQ(std::isnan(got[i]), i / dim == 2) << "at " << i << " of rows of " << dim;
    }
  }
}

TEST(NormRowsCuda, OtherRowsAreRefused) {
  for (const int64_t dim : {int64_t{0}, int64_t{12}, kLongestLearnedRow + 8}) {
    EXPECT_THROW(norm_rows_cuda({.num_tokens = 1, .dim = dim}, nullptr), Error);
    EXPECT_THROW(norm_rows_gradient_cuda({.num_tokens = 1, .dim = dim}, nullptr), Error);
  }
}

}  // namespace
}  // namespace msa::kernels
