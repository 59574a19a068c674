#include <algorithm>

#include "msa/kernels/best_rows.h"
#include "msa/kernels/vector_code.h"

namespace msa::kernels {
namespace {

constexpr int64_t kColumns = 512;  // whose maxima stay in the nearest cache

template <int kLanes>
MSA_INLINE void best_rows_lanes(const BestRowsParams& p) {
  for (int64_t first = 0; first < p.num_columns; first += kColumns) {
    const int64_t count = std::min(kColumns, p.num_columns - first);
    float* best = p.best + first;
    int32_t* row = p.row + first;
    std::copy_n(p.value + first, count, best);
    std::fill_n(row, count, 0);
    for (int64_t r = 1; r < p.num_rows; ++r) {
      const float* value = p.value + r * p.num_columns + first;
      const auto number = static_cast<int32_t>(r);
#pragma omp simd
      for (int64_t c = 0; c < count; ++c) {
        const bool is_larger = value[c] > best[c];
        best[c] = is_larger ? value[c] : best[c];
        row[c] = is_larger ? number : row[c];
      }
    }
  }
}

}  // namespace

MSA_VECTOR_FUNCTION(best_rows, (const BestRowsParams& params), (params))

}  // namespace msa::kernels
