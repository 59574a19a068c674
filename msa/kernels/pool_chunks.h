#pragma once
// Mean over chunks of P rows, document by document.

#include <cstdint>

namespace msa::kernels {

/// pooled[c] = mean of row[s] over the rows s of chunk c. Chunks never cross a document's border; a
/// short last chunk averages only the rows it has. With `normalizes`, every [D] of the mean is then
/// divided by its length. Source: arXiv 2603.23516. Sums are float32, a sum per chunk.
struct PoolChunksParams {
  const float* row = nullptr;  // [S, G, D]
  const int64_t* offsets =
      nullptr;  // [N + 1]: document n has rows offsets[n] .. offsets[n + 1] - 1
  const int64_t* first_chunk = nullptr;  // [N + 1]: its chunks in `pooled`
  float* pooled = nullptr;               // [C, G, D], written
  int64_t num_kv_heads = 0;              // G > 0
  int64_t head_dim = 0;                  // D > 0
  int64_t chunk_tokens = 0;              // P > 0
  bool normalizes = false;
};

/// Documents [first, end).
void pool_chunks(const PoolChunksParams& params, int64_t first, int64_t end);

}  // namespace msa::kernels
