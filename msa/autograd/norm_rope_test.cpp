#include "msa/autograd/norm_rope.h"

#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

/// Angles that are cosines and sines of something, as a rotation has them.
Tensors angles(int64_t rows, int64_t half, uint32_t seed) {
  const auto angle = random_tensor({rows, half}, seed);
  return {angle.cos(), angle.sin()};
}

TEST(NormRopeRule, EqualsADoubleLoop) {
  const int64_t rows = 7;
  const int64_t heads = 3;
  const int64_t dim = 10;
  const auto x = random_tensor({rows, heads, dim}, 1);
  const auto weight = random_tensor({dim}, 2);
  const auto turns = angles(rows, dim / 2, 3);
  const auto a = values_of(x);
  const auto w = values_of(weight);
  const auto cosine = values_of(turns[0]);
  const auto sine = values_of(turns[1]);
  std::vector<double> wanted(a.size());
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const double* head = a.data() + (t * heads + h) * dim;
      double* out = wanted.data() + (t * heads + h) * dim;
      double squares = 0;
      for (int64_t i = 0; i < dim; ++i) squares += head[i] * head[i];
      const double factor = 1 / std::sqrt(squares / dim + 1e-6);
      for (int64_t i = 0; i < dim / 2; ++i) {
        const double first = w[i] * head[i] * factor;
        const double second = w[dim / 2 + i] * head[dim / 2 + i] * factor;
        const double c = cosine[t * dim / 2 + i];
        const double s = sine[t * dim / 2 + i];
        out[i] = first * c - second * s;
        out[dim / 2 + i] = second * c + first * s;
      }
    }
  }
  expect_near(norm_rope(x, weight, 1e-6, turns[0], turns[1]), wanted, 1e-12);
}

TEST(NormRopeRule, GradientsEqualDifferencesAndHoldInShorterTypes) {
  for (const auto& [rows, heads, dim] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 1, 16}, {6, 3, 32}, {5, 2, 128}, {0, 2, 16}}) {
    const auto turns = angles(rows, dim / 2, 4);
    // Rows of a larger tensor, as the queries of one product for queries, keys and values.
    const Rule rule = [&](const Tensors& in) {
      const auto x = in[0].narrow(1, 3, heads * dim).unflatten(1, {heads, dim});
      return norm_rope(x, in[1], 1e-6, turns[0], turns[1]);
    };
    const Tensors inputs{random_tensor({rows, heads * dim + 5}, 5), random_tensor({dim}, 6)};
    expect_gradients(rule, inputs);
    expect_short_types(rule, inputs, 1);
  }
}

TEST(NormRopeRule, ShapesThatDoNotFitAreRefused) {
  const auto x = random_tensor({5, 1, 8}, 7);
  const auto weight = random_tensor({8}, 8);
  const auto turns = random_tensor({5, 4}, 9);
  expect_refused([&] { norm_rope(x.view({5, 8}), weight, 1e-6, turns, turns); });
  expect_refused([&] { norm_rope(x, random_tensor({7}, 1), 1e-6, turns, turns); });
  expect_refused([&] { norm_rope(x, weight, 1e-6, random_tensor({4, 4}, 1), turns); });
  expect_refused([&] { norm_rope(x, weight, 1e-6, turns, random_tensor({5, 3}, 1)); });
}

}  // namespace
}  // namespace msa::autograd
