#include "msa/kernels/best_rows.h"

#include <gtest/gtest.h>

#include <vector>

#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

TEST(BestRows, AreTheFirstOfTheLargest) {
  for (const int64_t num_rows : {1, 2, 37}) {
    for (const int64_t num_columns : {0, 1, 33, 1100}) {
      auto value = random_floats(num_rows * num_columns, 1);
      for (float& x : value) x = static_cast<float>(static_cast<int>(x * 2));  // many are equal
      std::vector<float> best_wanted(num_columns);
      std::vector<int32_t> row_wanted(num_columns);
      for (int64_t c = 0; c < num_columns; ++c) {
        for (int64_t r = 1; r < num_rows; ++r) {
          if (value[r * num_columns + c] > value[row_wanted[c] * num_columns + c]) {
            row_wanted[c] = static_cast<int32_t>(r);
          }
        }
        best_wanted[c] = value[row_wanted[c] * num_columns + c];
      }
      on_every_level([&](const char* level) {
        SCOPED_TRACE(level);
        std::vector<float> best(num_columns, -7);
        std::vector<int32_t> row(num_columns, -7);
        best_rows({.value = value.data(),
                   .num_rows = num_rows,
                   .num_columns = num_columns,
                   .best = best.data(),
                   .row = row.data()});
        EXPECT_EQ(best, best_wanted);
        EXPECT_EQ(row, row_wanted);
      });
    }
  }
}

}  // namespace
}  // namespace msa::kernels
