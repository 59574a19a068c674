#pragma once
// Mean over chunks of P rows, document by document.

#include <cstdint>

#include "msa/kernels/cuda_stream.h"

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

/// All `num_documents` documents and their `num_chunks` chunks; every pointer is to device memory.
/// A mean is bit-equal to the CPU's; a normalised one sums its squares in another order. Returns
/// once the work is queued. Only in the cuda preset. Throws Error(kDevice) if it cannot be
/// launched.
void pool_chunks_cuda(const PoolChunksParams& params, int64_t num_documents, int64_t num_chunks,
                      CudaStream stream);

}  // namespace msa::kernels
