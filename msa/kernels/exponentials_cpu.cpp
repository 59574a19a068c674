// Built without products that are added in one rounding, which not every CPU has.

#include "msa/kernels/exponentials.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

template <int kLanes>
MSA_INLINE void exponentials_lanes(const float* x, float highest, float factor, float* out,
                                   int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = fast_exp((x[i] - highest) * factor);
}

}  // namespace

MSA_VECTOR_FUNCTION(exponentials,
                    (const float* x, float highest, float factor, float* out, int64_t count),
                    (x, highest, factor, out, count))

}  // namespace msa::kernels
