#include <algorithm>

#include "msa/kernels/elementwise.h"
#include "msa/kernels/pool_chunks.h"
#include "msa/kernels/vector_code.h"

namespace msa::kernels {
namespace {

template <int kLanes>
MSA_INLINE void mean_of_rows_lanes(const float* row, int64_t num_rows, int64_t width, float* out) {
  std::copy_n(row, width, out);
  for (int64_t r = 1; r < num_rows; ++r) {
    const float* next = row + r * width;
    for (int64_t i = 0; i < width; ++i) out[i] += next[i];
  }
  const float factor = 1.0F / static_cast<float>(num_rows);
  for (int64_t i = 0; i < width; ++i) out[i] *= factor;
}
MSA_VECTOR_FUNCTION(mean_of_rows, (const float* row, int64_t num_rows, int64_t width, float* out),
                    (row, num_rows, width, out))

}  // namespace

void pool_chunks(const PoolChunksParams& p, int64_t first, int64_t end) {
  const int64_t width = p.num_kv_heads * p.head_dim;
  for (int64_t n = first; n < end; ++n) {
    const int64_t length = p.offsets[n + 1] - p.offsets[n];
    float* out = p.pooled + p.first_chunk[n] * width;
    for (int64_t begin = 0; begin < length; begin += p.chunk_tokens, out += width) {
      const int64_t num_rows = std::min(p.chunk_tokens, length - begin);
      mean_of_rows(p.row + (p.offsets[n] + begin) * width, num_rows, width, out);
      if (p.normalizes) {
        l2_normalize({.x = out, .out = out, .dim = p.head_dim}, 0, p.num_kv_heads);
      }
    }
  }
}

}  // namespace msa::kernels
