#pragma once
// Mean over chunks of P rows, document by document.

#include <cstdint>

#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/number_type.h"

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

/// Rows that a GPU pools: k, v or routing keys of the same tokens.
struct PooledPlane {
  const void* row = nullptr;  // [S, row_stride] of PoolPlanesParams::type; the first G * D count
  int64_t row_stride = 0;     // numbers
  float* pooled = nullptr;    // [C, G, D], written
  bool normalizes = false;
};
constexpr int kMostPlanes = 4;

/// pool_chunks of several planes with the same chunks; every pointer is to device memory.
struct PoolPlanesParams {
  PooledPlane plane[kMostPlanes];
  int num_planes = 0;                       // in [1, kMostPlanes]
  NumberType type = NumberType::kBFloat16;  // or kFloat32
  const int64_t* offsets = nullptr;         // [N + 1], as in PoolChunksParams
  const int64_t* first_chunk = nullptr;     // [N + 1]
  int64_t num_documents = 0;                // N
  int64_t num_chunks = 0;                   // C: first_chunk[N] - first_chunk[0]
  int64_t num_kv_heads = 0;                 // G > 0
  int64_t head_dim = 0;                     // D > 0
  int64_t chunk_tokens = 0;                 // P > 0
};

/// A mean is bit-equal to the CPU's of the same numbers; a normalised one sums its squares in
/// another order. Returns once the work is queued. Only in the cuda preset. Throws
/// Error(kInvalidArgument) for other numbers of planes, Error(kDevice) if it cannot be launched.
void pool_chunks_cuda(const PoolPlanesParams& params, CudaStream stream);

}  // namespace msa::kernels
