#pragma once
// What the tests of this folder share: seeded tensors, checks of gradients, and refusing.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "msa/base/error.h"

namespace msa::autograd {

using Tensors = std::vector<at::Tensor>;

/// A function of several tensors, to be differentiated.
using Rule = std::function<at::Tensor(const Tensors&)>;

/// Normally distributed float64 values that bfloat16 holds exactly.
inline at::Tensor random_tensor(at::IntArrayRef sizes, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  auto tensor = at::empty(sizes, at::kDouble);
  double* values = tensor.data_ptr<double>();
  for (int64_t i = 0; i < tensor.numel(); ++i) values[i] = normal(random);
  return tensor.to(at::kBFloat16).to(at::kDouble);
}

template <typename Number>
at::Tensor tensor_of(const std::vector<Number>& values) {
  auto tensor =
      at::empty({static_cast<int64_t>(values.size())}, c10::CppTypeToScalarType<Number>::value);
  std::copy(values.begin(), values.end(), tensor.template data_ptr<Number>());
  return tensor;
}

/// The values in order, as double.
inline std::vector<double> values_of(const at::Tensor& tensor) {
  const auto wide = tensor.to(at::kDouble).contiguous();
  const double* values = wide.const_data_ptr<double>();
  return {values, values + wide.numel()};
}

inline void expect_near(const at::Tensor& got, const std::vector<double>& wanted,
                        double tolerance) {
  const auto values = values_of(got);
  ASSERT_EQ(values.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(values[i], wanted[i], tolerance * (1 + std::abs(wanted[i]))) << "place " << i;
  }
}

/// The result and the gradients of sum(result * slopes), slopes seeded by `seed`.
struct Differentiated {
  at::Tensor result;
  Tensors gradients;
};
inline Differentiated differentiate(const Rule& rule, const Tensors& inputs, uint32_t seed) {
  Tensors leaves;
  for (const auto& input : inputs) leaves.push_back(input.detach().clone().requires_grad_());
  const auto result = rule(leaves);
  (result * random_tensor(result.sizes(), seed).to(result.options())).sum().backward();
  Differentiated all{.result = result.detach(), .gradients = {}};
  for (const auto& leaf : leaves) all.gradients.push_back(leaf.grad());
  return all;
}

/// Derivative along `direction` by differences of fourth order.
inline double slope_along(const Rule& rule, Tensors inputs, size_t place,
                          const at::Tensor& direction, const at::Tensor& slopes) {
  const c10::NoGradGuard no_gradients;
  const auto start = inputs[place];
  const auto value = [&](double step) {
    inputs[place] = start + direction * step;
    return (rule(inputs) * slopes).sum().item<double>();
  };
  constexpr double kStep = 3e-4;
  return (8 * (value(kStep) - value(-kStep)) - (value(2 * kStep) - value(-2 * kStep))) /
         (12 * kStep);
}

/// Compares the gradients for all (float64) inputs with differences, along random directions and
/// for single entries; errors are relative to the length of the gradient and to its largest entry.
inline void expect_gradients(const Rule& rule, const Tensors& inputs, double tolerance = 1e-6) {
  constexpr uint32_t kSeed = 991;
  const auto all = differentiate(rule, inputs, kSeed);
  const auto slopes = random_tensor(all.result.sizes(), kSeed);
  for (size_t place = 0; place < inputs.size(); ++place) {
    SCOPED_TRACE(testing::Message() << "input " << place);
    const auto& gradient = all.gradients[place];
    ASSERT_TRUE(gradient.defined());
    ASSERT_EQ(gradient.sizes(), inputs[place].sizes());
    ASSERT_EQ(gradient.scalar_type(), at::kDouble);
    if (gradient.numel() == 0) continue;
    const double length = gradient.norm().item<double>();
    for (uint32_t trial = 0; trial < 4; ++trial) {
      const auto direction = random_tensor(gradient.sizes(), 7000 + trial);
      EXPECT_NEAR((gradient * direction).sum().item<double>(),
                  slope_along(rule, inputs, place, direction, slopes), tolerance * length)
          << "direction " << trial;
    }
    const double largest = gradient.abs().max().item<double>();
    std::mt19937 random(kSeed);
    for (int trial = 0; trial < 12; ++trial) {
      const auto entry = static_cast<int64_t>(random() % gradient.numel());
      const auto direction = at::zeros_like(gradient);
      direction.data_ptr<double>()[entry] = 1;
      EXPECT_NEAR(gradient.contiguous().data_ptr<double>()[entry],
                  slope_along(rule, inputs, place, direction, slopes), tolerance * largest)
          << "entry " << entry;
    }
  }
}

/// Result and gradients in float32 and bfloat16 equal those in float64 of the same numbers,
/// relative to the largest. The first `num_values` inputs take the type, the others, weights, are
/// float32 and get float32 gradients.
inline void expect_short_types(const Rule& rule, const Tensors& inputs, size_t num_values,
                               double tolerance32 = 1e-5, double tolerance16 = 2e-2) {
  constexpr uint32_t kSeed = 992;
  const auto expect_close = [](const at::Tensor& got, const at::Tensor& wanted, double tolerance) {
    if (wanted.numel() == 0) return;
    const double error = (got.to(at::kDouble) - wanted).abs().max().item<double>();
    EXPECT_LE(error, tolerance * (1e-3 + wanted.abs().max().item<double>()));
  };
  const auto wanted = differentiate(rule, inputs, kSeed);
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    SCOPED_TRACE(c10::toString(type));
    const double tolerance = type == at::kFloat ? tolerance32 : tolerance16;
    Tensors rounded;
    for (size_t i = 0; i < inputs.size(); ++i) {
      rounded.push_back(inputs[i].to(i < num_values ? type : at::kFloat));
    }
    const auto got = differentiate(rule, rounded, kSeed);
    expect_close(got.result, wanted.result, tolerance);
    for (size_t i = 0; i < inputs.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "input " << i);
      EXPECT_EQ(got.gradients[i].scalar_type(), rounded[i].scalar_type());
      expect_close(got.gradients[i], wanted.gradients[i], tolerance);
    }
  }
}

template <typename Body>
void expect_refused(const Body& body) {
  try {
    body();
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.what();
  }
}

}  // namespace msa::autograd
