#include "msa/kernels/elementwise_gradient.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

/// Derivatives of `loss` in every value, by differences.
std::vector<double> slopes_of(const std::function<double(const std::vector<double>&)>& loss,
                              const std::vector<float>& values) {
  std::vector<double> at(values.begin(), values.end());
  std::vector<double> slopes;
  for (double& value : at) {
    constexpr double kStep = 1e-5;
    const double middle = value;
    value = middle + kStep;
    const double above = loss(at);
    value = middle - kStep;
    slopes.push_back((above - loss(at)) / (2 * kStep));
    value = middle;
  }
  return slopes;
}

void expect_near(const std::vector<float>& got, const std::vector<double>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(got[i], wanted[i], 2e-5 * (1 + std::abs(wanted[i]))) << "place " << i;
  }
}

TEST(ElementwiseGradient, NormRopeEqualsDifferencesForRowsInsideALargerTensor) {
  constexpr double kEps = 1e-3;
  for (const int64_t dim : {2, 10, 32, 70}) {
    const int64_t tokens = 3;
    const int64_t heads = 2;
    const int64_t half = dim / 2;
    const int64_t stride = heads * dim + 5;
    const auto x = random_floats(tokens * stride, 1);
    const auto weight = random_floats(dim, 2);
    const auto cosine = random_floats(tokens * half, 3);
    const auto sine = random_floats(tokens * half, 4);
    const auto slope = random_floats(tokens * heads * dim, 5);
    const auto loss = [&](const auto& all, const auto& weights) {
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t h = 0; h < heads; ++h) {
          const auto* head = all.data() + t * stride + h * dim;
          const float* slopes = slope.data() + (t * heads + h) * dim;
          double squares = 0;
          for (int64_t i = 0; i < dim; ++i) squares += static_cast<double>(head[i]) * head[i];
          const double factor = 1 / std::sqrt(squares / static_cast<double>(dim) + kEps);
          for (int64_t i = 0; i < half; ++i) {
            const double a = head[i] * factor * weights[i];
            const double b = head[half + i] * factor * weights[half + i];
            const double c = cosine[t * half + i];
            const double s = sine[t * half + i];
            sum += slopes[i] * (a * c - b * s) + slopes[half + i] * (b * c + a * s);
          }
        }
      }
      return sum;
    };
    const auto x_wanted =
        slopes_of([&](const std::vector<double>& all) { return loss(all, weight); }, x);
    const auto weight_wanted =
        slopes_of([&](const std::vector<double>& weights) { return loss(x, weights); }, weight);
    std::vector<double> head_wanted;
    for (int64_t t = 0; t < tokens; ++t) {
      const auto row = x_wanted.begin() + t * stride;
      head_wanted.insert(head_wanted.end(), row, row + heads * dim);
    }
    on_every_level([&](const char* level) {
      SCOPED_TRACE(level);
      std::vector<float> x_gradient(slope.size(), NAN);
      std::vector<float> weight_gradient(dim, NAN);
      norm_rope_gradient({.x = x.data(),
                          .x_stride = stride,
                          .weight = weight.data(),
                          .cosine = cosine.data(),
                          .sine = sine.data(),
                          .out_gradient = slope.data(),
                          .x_gradient = x_gradient.data(),
                          .num_heads = heads,
                          .head_dim = dim,
                          .eps = static_cast<float>(kEps)},
                         weight_gradient.data(), 0, tokens);
      expect_near(x_gradient, head_wanted);
      expect_near(weight_gradient, weight_wanted);
    });
  }
}

TEST(ElementwiseGradient, SwigluEqualsDifferences) {
  for (const int64_t dim : {1, 16, 37}) {
    const int64_t tokens = 3;
    const auto gate_up = random_floats(tokens * 2 * dim, 6, 4);
    const auto slope = random_floats(tokens * dim, 7);
    const auto wanted = slopes_of(
        [&](const std::vector<double>& all) {
          double sum = 0;
          for (int64_t t = 0; t < tokens; ++t) {
            for (int64_t i = 0; i < dim; ++i) {
              const double gate = all[t * 2 * dim + i];
              sum += slope[t * dim + i] * gate / (1 + std::exp(-gate)) * all[(2 * t + 1) * dim + i];
            }
          }
          return sum;
        },
        gate_up);
    on_every_level([&](const char* level) {
      SCOPED_TRACE(level);
      std::vector<float> gradient(gate_up.size(), NAN);
      const SwigluGradientRows rows{.gate_up = gate_up.data(),
                                    .out_gradient = slope.data(),
                                    .gate_up_gradient = gradient.data(),
                                    .dim = dim};
      swiglu_gradient(rows, 0, 1);
      swiglu_gradient(rows, 1, tokens);
      expect_near(gradient, wanted);
    });
  }
}

TEST(ElementwiseGradient, GatesFarFromZeroHaveFiniteGradients) {
  const std::vector<float> gate_up{-1e30F, -200, 200, 1e30F, 1, 1, 1, 1};
  const std::vector<float> slope(4, 1);
  on_every_level([&](const char* level) {
    SCOPED_TRACE(level);
    std::vector<float> gradient(8, NAN);
    swiglu_gradient({.gate_up = gate_up.data(),
                     .out_gradient = slope.data(),
                     .gate_up_gradient = gradient.data(),
                     .dim = 4},
                    0, 1);
    expect_near(std::vector<float>(gradient.begin(), gradient.begin() + 4), {0, 0, 1, 1});
  });
}

}  // namespace
}  // namespace msa::kernels
