#pragma once
// What the tests of this folder share: seeded tensors, and reading and refusing.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "msa/base/error.h"

namespace msa::ops {

/// Normally distributed float32 values.
inline at::Tensor random_tensor(at::IntArrayRef sizes, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  auto tensor = at::empty(sizes, at::kFloat);
  float* values = tensor.data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) values[i] = normal(random);
  return tensor;
}

/// The values in order, as double.
inline std::vector<double> values_of(const at::Tensor& tensor) {
  const auto wide = tensor.to(at::kDouble).contiguous();
  const double* values = wide.data_ptr<double>();
  return {values, values + wide.numel()};
}

inline at::Tensor offsets_of(const std::vector<int64_t>& values) {
  auto tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

inline void expect_near(const at::Tensor& got, const std::vector<double>& wanted,
                        double tolerance) {
  const auto values = values_of(got);
  ASSERT_EQ(values.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(values[i], wanted[i], tolerance * (1 + std::abs(wanted[i]))) << "place " << i;
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

/// Offsets of rows that no documents of `num_rows` rows have.
inline std::vector<at::Tensor> wrong_offsets(int64_t num_rows) {
  return {offsets_of({0, num_rows + 6}),
          offsets_of({0, num_rows - 1}),
          offsets_of({1, num_rows}),
          offsets_of({-1, num_rows}),
          offsets_of({0, num_rows, num_rows - 1, num_rows}),
          offsets_of({0, num_rows + 1, num_rows}),
          offsets_of({0, -1, num_rows}),
          offsets_of({}),
          offsets_of({0, num_rows}).to(at::kInt),
          offsets_of({0, num_rows}).to(at::kFloat),
          offsets_of({0, num_rows}).view({1, 2}),
          offsets_of({0, 9, num_rows, 9}).slice(0, 0, 4, 2)};
}

}  // namespace msa::ops
