#pragma once
// The largest value of every column.

#include <cstdint>

namespace msa::kernels {

/// best[c] = the largest of value[r][c] over all rows r, row[c] = the first row that has it.
struct BestRowsParams {
  const float* value = nullptr;  // [rows, columns]
  int64_t num_rows = 0;          // > 0
  int64_t num_columns = 0;
  float* best = nullptr;   // [columns], written
  int32_t* row = nullptr;  // [columns], written
};
void best_rows(const BestRowsParams& params);

}  // namespace msa::kernels
