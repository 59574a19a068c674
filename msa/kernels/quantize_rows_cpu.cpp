#include <algorithm>
#include <cmath>

#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/vector_lanes.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

template <int kLanes>
MSA_INLINE float largest_size(const float* row, int64_t dim) {
  Floats<kLanes> best[2] = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= dim; i += 2 * kLanes) {
    for (int j = 0; j < 2; ++j) {
      const auto value = load<Floats<kLanes>>(row + i + j * kLanes);
      best[j] = larger(larger(value, -value), best[j]);
    }
  }
  float largest = largest_of(larger(best[0], best[1]));
  for (; i < dim; ++i) largest = std::max(largest, std::fabs(row[i]));
  return largest;
}

template <int kLanes>
MSA_INLINE float quantize_row(const float* row, int64_t dim, int8_t* out) {
  const float largest = largest_size<kLanes>(row, dim);
  // Below kSmallest the factor would be infinite; such a row is as good as zero.
  constexpr float kSmallest = 1e-36F;
  const float factor = largest > kSmallest ? 127.0F / largest : 0.0F;
  for (int64_t i = 0; i < dim; ++i) {
    out[i] = static_cast<int8_t>(__builtin_rintf(row[i] * factor));
  }
  return largest / 127.0F;
}

template <int kLanes>
MSA_INLINE void quantize_rows_lanes(const QuantizeRowsParams& p) {
  switch (p.type) {
    case NumberType::kFloat32:
      std::copy_n(p.row, p.num_rows * p.dim, static_cast<float*>(p.out));
      break;
    case NumberType::kBFloat16:
      for (int64_t i = 0; i < p.num_rows * p.dim; ++i) {
        narrow(p.row[i], static_cast<BFloat16*>(p.out)[i]);
      }
      break;
    case NumberType::kInt8:
      for (int64_t n = 0; n < p.num_rows; ++n) {
        p.scale[n] =
            quantize_row<kLanes>(p.row + n * p.dim, p.dim, static_cast<int8_t*>(p.out) + n * p.dim);
      }
      break;
  }
}

}  // namespace

MSA_VECTOR_FUNCTION(quantize_rows, (const QuantizeRowsParams& params), (params))

}  // namespace msa::kernels
