#include "msa/ops/elementwise.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "msa/ops/test_tensors.h"

namespace msa::ops {
namespace {

TEST(ElementwiseOps, RmsNormEqualsADoubleLoopInBothTypes) {
  for (const int64_t rows : {0, 1, 35, 67}) {
    const auto x = random_tensor({rows, 13}, 1);
    const auto weight = random_tensor({13}, 2);
    const auto a = values_of(x);
    const auto w = values_of(weight);
    std::vector<double> wanted;
    for (int64_t t = 0; t < rows; ++t) {
      double squares = 0;
      for (int64_t i = 0; i < 13; ++i) squares += a[t * 13 + i] * a[t * 13 + i];
      const double factor = 1 / std::sqrt(squares / 13 + 1e-5);
      for (int64_t i = 0; i < 13; ++i) wanted.push_back(w[i] * a[t * 13 + i] * factor);
    }
    expect_near(rms_norm(x, weight, 1e-5, at::kFloat), wanted, 2e-6);
    expect_near(rms_norm(x, weight, 1e-5, at::kBFloat16), wanted, 5e-3);
  }
}

TEST(ElementwiseOps, NormRopeEqualsADoubleLoopForRowsInsideALargerTensor) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const int64_t rows = 37;
    const int64_t heads = 3;
    const int64_t dim = 10;
    const auto all = random_tensor({rows, 50}, 3).to(type);
    const auto x = all.narrow(1, 7, heads * dim).unflatten(1, {heads, dim});
    const auto weight = random_tensor({dim}, 4);
    const auto cosine = random_tensor({rows, dim / 2}, 5);
    const auto sine = random_tensor({rows, dim / 2}, 6);
    const auto a = values_of(x);
    const auto w = values_of(weight);
    const auto cosines = values_of(cosine);
    const auto sines = values_of(sine);
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
          const double c = cosines[t * dim / 2 + i];
          const double s = sines[t * dim / 2 + i];
          out[i] = first * c - second * s;
          out[dim / 2 + i] = second * c + first * s;
        }
      }
    }
    const auto out = norm_rope(x, weight, 1e-6, cosine, sine);
    EXPECT_EQ(out.sizes(), x.sizes());
    expect_near(out, wanted, 4e-6);
  }
}

TEST(ElementwiseOps, SwigluEqualsADoubleLoopInBothTypes) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto x = random_tensor({35, 2 * 11}, 7).to(type);
    const auto a = values_of(x);
    std::vector<double> wanted;
    for (int64_t t = 0; t < 35; ++t) {
      for (int64_t i = 0; i < 11; ++i) {
        const double gate = a[t * 22 + i];
        wanted.push_back(gate / (1 + std::exp(-gate)) * a[t * 22 + 11 + i]);
      }
    }
    const auto out = swiglu(x);
    EXPECT_EQ(out.scalar_type(), type);
    expect_near(out, wanted, type == at::kFloat ? 2e-6 : 5e-3);
  }
}

TEST(ElementwiseOps, LengthsBecomeOneAlongTheLastAxisOfAnyTensor) {
  for (const auto& x : {random_tensor({7}, 8), random_tensor({300, 2, 7}, 9),
                        random_tensor({7, 5}, 10).t(), at::zeros({3, 7}, at::kFloat)}) {
    const auto a = values_of(x);
    const int64_t dim = x.size(-1);
    std::vector<double> wanted;
    for (size_t row = 0; row < a.size(); row += dim) {
      double squares = 0;
      for (int64_t i = 0; i < dim; ++i) squares += a[row + i] * a[row + i];
      for (int64_t i = 0; i < dim; ++i) {
        wanted.push_back(squares == 0 ? 0 : a[row + i] / std::sqrt(squares));
      }
    }
    const auto out = l2_normalize(x);
    EXPECT_EQ(out.sizes(), x.sizes());
    expect_near(out, wanted, 2e-6);
  }
  EXPECT_EQ(l2_normalize(at::empty({0, 7}, at::kFloat)).size(0), 0);
}

TEST(ElementwiseOps, AddEqualsADoubleLoopAndLeavesItsTermsAlone) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto x = random_tensor({35, 9}, 11);
    const auto y = random_tensor({35, 9}, 12).to(type);
    const auto a = values_of(x);
    const auto b = values_of(y);
    std::vector<double> wanted;
    for (size_t i = 0; i < a.size(); ++i) wanted.push_back(a[i] + b[i]);
    const auto sum = ops::add(x, y);
    EXPECT_EQ(sum.scalar_type(), at::kFloat);
    expect_near(sum, wanted, 1e-6);
    EXPECT_EQ(values_of(x), a);
  }
}

TEST(ElementwiseOps, AnEmptyLastAxisHasNoLength) {
  expect_refused([] { l2_normalize(at::empty({3, 0}, at::kFloat)); });
  expect_refused([] { l2_normalize(at::empty({0}, at::kFloat)); });
  expect_refused([] { l2_normalize(at::zeros({}, at::kFloat)); });
}

TEST(ElementwiseOps, ShapesAndTypesThatDoNotFitAreRefused) {
  const auto x = random_tensor({5, 8}, 13);
  const auto weight = random_tensor({8}, 14);
  expect_refused([&] { rms_norm(x, random_tensor({7}, 1), 1e-6, at::kFloat); });
  expect_refused([&] { rms_norm(x.view({5, 2, 4}), weight, 1e-6, at::kFloat); });
  expect_refused([&] { rms_norm(x.to(at::kBFloat16), weight, 1e-6, at::kFloat); });
  expect_refused([&] { rms_norm(x, weight, 1e-6, at::kDouble); });
  expect_refused([&] { swiglu(random_tensor({5, 7}, 1)); });
  expect_refused([&] { swiglu(weight); });
  expect_refused([&] { swiglu(x.to(at::kDouble)); });
  expect_refused([&] { l2_normalize(x.to(at::kBFloat16)); });
  expect_refused([&] { ops::add(x, random_tensor({5, 7}, 1)); });
  expect_refused([&] { ops::add(x, x.to(at::kDouble)); });
  expect_refused([&] { ops::add(weight, weight); });
  const auto heads = x.view({5, 1, 8});
  const auto angles = random_tensor({5, 4}, 15);
  expect_refused([&] { norm_rope(x, weight, 1e-6, angles, angles); });
  expect_refused([&] { norm_rope(heads, random_tensor({7}, 1), 1e-6, angles, angles); });
  expect_refused([&] { norm_rope(heads, weight, 1e-6, random_tensor({4, 4}, 1), angles); });
  expect_refused([&] { norm_rope(heads, weight, 1e-6, random_tensor({5, 3}, 1), angles); });
  expect_refused([&] { norm_rope(heads, weight, 1e-6, angles, random_tensor({5, 3}, 1)); });
  expect_refused([&] { norm_rope(heads, weight, 1e-6, random_tensor({5}, 1), angles); });
  expect_refused([&] { norm_rope(heads.to(at::kDouble), weight, 1e-6, angles, angles); });
  expect_refused([&] { norm_rope(heads.expand({5, 2, 8}), weight, 1e-6, angles, angles); });
}

}  // namespace
}  // namespace msa::ops
