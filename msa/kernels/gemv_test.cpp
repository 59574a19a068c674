#include "msa/kernels/gemv.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

TEST(Gemv, EqualsADoubleLoopForAnySlicesAndBothTypes) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    for (const int64_t columns : {1, 15, 32, 33, 384, 1024, 1031}) {
      const int64_t num_rows = 23;
      const auto weight = random_floats(num_rows * columns, 20);
      const auto narrow_weight = rounded(weight);
      const auto x = random_floats(columns, 21);
      for (const bool is_bf16 : {false, true}) {
        std::vector<float> whole(num_rows, 1);
        GemvParams params{
            .weight = is_bf16 ? static_cast<const void*>(narrow_weight.data()) : weight.data(),
            .type = is_bf16 ? NumberType::kBFloat16 : NumberType::kFloat32,
            .x = x.data(),
            .y = whole.data(),
            .num_columns = columns,
            .adds = true};
        gemv(params, 0, num_rows);
        std::vector<float> sliced(num_rows, 1);
        params.y = sliced.data();
        for (const auto& [first, end] :
             {std::pair<int64_t, int64_t>{0, 3}, {3, 16}, {16, 16}, {16, 23}}) {
          gemv(params, first, end);
        }
        EXPECT_EQ(whole, sliced) << "slices change bits";
        for (int64_t r = 0; r < num_rows; ++r) {
          double wanted = 1;
          double size = 1;
          for (int64_t k = 0; k < columns; ++k) {
            const double product =
                static_cast<double>(is_bf16 ? to_float(narrow_weight[r * columns + k])
                                            : weight[r * columns + k]) *
                x[k];
            wanted += product;
            size += std::abs(product);
          }
          EXPECT_NEAR(whole[r], wanted, 1e-6 * size);
        }
      }
    }
  });
}

}  // namespace
}  // namespace msa::kernels
