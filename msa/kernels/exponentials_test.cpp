#include "msa/kernels/exponentials.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "msa/kernels/cpu_features.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

TEST(Exponentials, OfDistancesFromTheLargestEqualADoubleLoop) {
  const std::vector<float> x = random_floats(1003, 21, 30.0F);
  const float highest = *std::max_element(x.begin(), x.end());
  std::vector<float> out(x.size());
  for (const float factor : {0.0F, 0.7F, 3.0F}) {
    exponentials(x.data(), highest, factor, out.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double distance = static_cast<double>(x[i]) - highest;
      EXPECT_NEAR(out[i], std::exp(factor * distance), 1e-5) << x[i] << " times " << factor;
    }
  }
}

TEST(Exponentials, HaveTheSameBitsOnEveryLevel) {
  std::vector<float> x = random_floats(5003, 22, 60.0F);
  x[7] = -INFINITY;
  const float highest = *std::max_element(x.begin(), x.end());
  std::vector<float> plain(x.size());
  std::vector<float> out(x.size());
  for (const float factor : {0.3F, 1.0F, 1.4285715F}) {
    limit_vector_level(VectorLevel::kBaseline);
    exponentials(x.data(), highest, factor, plain.data(), static_cast<int64_t>(x.size()));
    for (const auto level : {VectorLevel::kAvx2, VectorLevel::kAvx512}) {
      limit_vector_level(level);
      exponentials(x.data(), highest, factor, out.data(), static_cast<int64_t>(x.size()));
      EXPECT_EQ(out, plain) << "level " << static_cast<int>(level) << ", times " << factor;
    }
  }
}

}  // namespace
}  // namespace msa::kernels
