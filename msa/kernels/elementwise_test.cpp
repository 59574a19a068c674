#include "msa/kernels/elementwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "msa/kernels/test_values.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

TEST(Elementwise, RmsNormAndRotationEqualDoubleLoops) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const int64_t dim = 20;
    const auto x = random_floats(3 * 2 * dim, 8);
    const auto weight = random_floats(2 * dim, 9);
    std::vector<float> out(3 * 2 * dim, NAN);
    rms_norm(
        {.x = x.data(), .weight = weight.data(), .out = out.data(), .dim = 2 * dim, .eps = 1e-6F},
        0, 3);
    for (int64_t t = 0; t < 3; ++t) {
      double squares = 0;
      for (int64_t i = 0; i < 2 * dim; ++i) squares += std::pow(x[t * 2 * dim + i], 2.0);
      for (int64_t i = 0; i < 2 * dim; ++i) {
        const double wanted =
            weight[i] * x[t * 2 * dim + i] / std::sqrt(squares / (2 * dim) + 1e-6);
        EXPECT_NEAR(out[t * 2 * dim + i], wanted, 2e-6 * std::max(1.0, std::abs(wanted)));
      }
    }
    std::vector<float> cosine(3 * dim / 2);
    std::vector<float> sine(3 * dim / 2);
    for (size_t i = 0; i < cosine.size(); ++i) {
      cosine[i] = std::cos(0.3F * static_cast<float>(i));
      sine[i] = std::sin(0.3F * static_cast<float>(i));
    }
    norm_rope({.x = x.data(),
               .x_stride = 2 * dim,
               .weight = weight.data(),
               .cosine = cosine.data(),
               .sine = sine.data(),
               .out = out.data(),
               .num_heads = 2,
               .head_dim = dim,
               .eps = 1e-6F},
              0, 3);
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t h = 0; h < 2; ++h) {
        const float* head = x.data() + (t * 2 + h) * dim;
        double squares = 0;
        for (int64_t i = 0; i < dim; ++i) squares += std::pow(head[i], 2.0);
        const double factor = 1 / std::sqrt(squares / dim + 1e-6);
        for (int64_t i = 0; i < dim / 2; ++i) {
          const double a = weight[i] * head[i] * factor;
          const double b = weight[dim / 2 + i] * head[dim / 2 + i] * factor;
          const double c = cosine[t * dim / 2 + i];
          const double s = sine[t * dim / 2 + i];
          EXPECT_NEAR(out[(t * 2 + h) * dim + i], a * c - b * s, 4e-6);
          EXPECT_NEAR(out[(t * 2 + h) * dim + dim / 2 + i], b * c + a * s, 4e-6);
        }
      }
    }
  });
}

TEST(Elementwise, ExponentialIsWithinAFewUnitsOfTheLastPlace) {
  for (float x = -87; x < 88; x += 0.00137F) {
    const double wanted = std::exp(static_cast<double>(x));
    ASSERT_NEAR(fast_exp(x) / wanted, 1.0, 4e-7) << x;
  }
  EXPECT_EQ(fast_exp(-1e30F), 0.0F);
}

TEST(Elementwise, SwigluEqualsADoubleLoopInBothTypes) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const auto x = random_floats(2 * 2 * 37, 12, 3);
    std::vector<float> out(2 * 37, NAN);
    swiglu({.gate_up = x.data(), .out = out.data(), .dim = 37}, 0, 2);
    const auto narrow_x = rounded(x);
    std::vector<BFloat16> narrow_out(2 * 37);
    swiglu({.gate_up = narrow_x.data(),
            .out = narrow_out.data(),
            .type = NumberType::kBFloat16,
            .dim = 37},
           0, 2);
    for (int64_t t = 0; t < 2; ++t) {
      for (int64_t i = 0; i < 37; ++i) {
        const auto wanted = [&](double g, double u) { return g / (1 + std::exp(-g)) * u; };
        const double exact = wanted(x[t * 74 + i], x[t * 74 + 37 + i]);
        EXPECT_NEAR(out[t * 37 + i], exact, 2e-6 * std::max(1.0, std::abs(exact)));
        const double coarse =
            wanted(to_float(narrow_x[t * 74 + i]), to_float(narrow_x[t * 74 + 37 + i]));
        EXPECT_NEAR(to_float(narrow_out[t * 37 + i]), coarse,
                    5e-3 * std::max(1.0, std::abs(coarse)));
      }
    }
  });
}

TEST(Elementwise, RmsNormWritesBfloat16RoundedToNearest) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const int64_t dim = 131;
    const auto x = random_floats(4 * dim, 31);
    const auto weight = random_floats(dim, 32);
    std::vector<float> exact(4 * dim, NAN);
    std::vector<BFloat16> narrow(4 * dim);
    RmsNormParams params{
        .x = x.data(), .weight = weight.data(), .out = exact.data(), .dim = dim, .eps = 1e-5F};
    rms_norm(params, 0, 4);
    params.out = narrow.data();
    params.out_type = NumberType::kBFloat16;
    rms_norm(params, 0, 4);
    EXPECT_EQ(narrow.size(), exact.size());
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_EQ(narrow[i].bits, to_bfloat16(exact[i]).bits) << i;
    }
  });
}

TEST(Elementwise, RotationReadsBfloat16RowsWithAStride) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const int64_t heads = 3;
    const int64_t dim = 48;
    const int64_t stride = heads * dim + 7;
    const auto x = rounded(random_floats(2 * stride, 33));
    std::vector<float> wide;
    for (const BFloat16 value : x) wide.push_back(to_float(value));
    const auto weight = random_floats(dim, 34);
    const auto cosine = random_floats(2 * dim / 2, 35);
    const auto sine = random_floats(2 * dim / 2, 36);
    std::vector<float> from_narrow(2 * heads * dim, NAN);
    std::vector<float> from_wide(2 * heads * dim, NAN);
    NormRopeParams params{.x = x.data(),
                          .x_type = NumberType::kBFloat16,
                          .x_stride = stride,
                          .weight = weight.data(),
                          .cosine = cosine.data(),
                          .sine = sine.data(),
                          .out = from_narrow.data(),
                          .num_heads = heads,
                          .head_dim = dim,
                          .eps = 1e-6F};
    norm_rope(params, 0, 2);
    params.x = wide.data();
    params.x_type = NumberType::kFloat32;
    params.out = from_wide.data();
    norm_rope(params, 0, 2);
    for (size_t i = 0; i < from_wide.size(); ++i) {
      EXPECT_NEAR(from_narrow[i], from_wide[i], 1e-6 * std::max(1.0F, std::abs(from_wide[i]))) << i;
    }
  });
}

TEST(Elementwise, LengthsBecomeOneInPlaceAndZeroStaysZero) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const int64_t dim = 37;
    auto x = random_floats(4 * dim, 37, 5);
    std::fill_n(x.begin() + 2 * dim, dim, 0.0F);
    const auto before = x;
    l2_normalize({.x = x.data(), .out = x.data(), .dim = dim}, 1, 3);
    double squares = 0;
    for (int64_t i = 0; i < dim; ++i) squares += std::pow(before[dim + i], 2.0);
    for (int64_t i = 0; i < dim; ++i) {
      EXPECT_NEAR(x[dim + i], before[dim + i] / std::sqrt(squares), 1e-6);
      EXPECT_EQ(x[2 * dim + i], 0.0F);
      EXPECT_EQ(x[i], before[i]) << "row 0 is not in the range";
      EXPECT_EQ(x[3 * dim + i], before[3 * dim + i]) << "row 3 is not in the range";
    }
  });
}

TEST(Elementwise, AddingTouchesOnlyItsRowsInBothTypes) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const int64_t dim = 29;
    const auto x = random_floats(3 * dim, 38);
    const auto narrow = rounded(x);
    const auto before = random_floats(3 * dim, 39);
    for (const bool is_bf16 : {false, true}) {
      auto sum = before;
      add_rows({.x = is_bf16 ? static_cast<const void*>(narrow.data()) : x.data(),
                .x_type = is_bf16 ? NumberType::kBFloat16 : NumberType::kFloat32,
                .sum = sum.data(),
                .dim = dim},
               1, 2);
      for (int64_t i = 0; i < 3 * dim; ++i) {
        const float value = is_bf16 ? to_float(narrow[i]) : x[i];
        EXPECT_EQ(sum[i], i / dim == 1 ? before[i] + value : before[i]) << i;
      }
    }
  });
}

TEST(Elementwise, OneTokensGateEqualsTheRowForm) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const int64_t dim = 45;
    const auto x = random_floats(2 * dim, 40, 4);
    std::vector<float> rows(dim, NAN);
    std::vector<float> apart(dim, NAN);
    swiglu({.gate_up = x.data(), .out = rows.data(), .dim = dim}, 0, 1);
    gate(x.data(), x.data() + dim, apart.data(), dim);
    EXPECT_EQ(rows, apart);
  });
}

TEST(Elementwise, SiluOfFarValuesIsTheValueOrZero) {
  for (const float x : {-1e20F, -1e4F, -200.0F, -90.0F}) {
    EXPECT_NEAR(silu(x), 0.0F, 1e-17F) << x;
  }
  for (const float x : {30.0F, 200.0F, 1e4F, 1e20F}) EXPECT_FLOAT_EQ(silu(x), x);
}

}  // namespace
}  // namespace msa::kernels
