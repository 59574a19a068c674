// One block a chunk: a thread sums one column over the chunk's rows, as the CPU does and in its
// order.

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/pool_chunks.h"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;

/// The document that owns a chunk: the last one whose first chunk is not above it.
__device__ int64_t document_of(const int64_t* first_chunk, int64_t num_documents, int64_t chunk) {
  int64_t low = 0;
  int64_t high = num_documents;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (first_chunk[middle] <= chunk) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

__global__ void __launch_bounds__(kThreads)
    pool_chunks_kernel(PoolChunksParams p, int64_t num_documents) {
  const int64_t chunk = p.first_chunk[0] + blockIdx.x;
  const int64_t document = document_of(p.first_chunk, num_documents, chunk);
  const int64_t begin = p.offsets[document] + (chunk - p.first_chunk[document]) * p.chunk_tokens;
  const int64_t left = p.offsets[document + 1] - begin;
  const int64_t num_rows = left < p.chunk_tokens ? left : p.chunk_tokens;
  const int64_t width = p.num_kv_heads * p.head_dim;
  const float* rows = p.row + begin * width;
  float* out = p.pooled + chunk * width;
  const float factor = 1.0F / static_cast<float>(num_rows);
  for (int64_t i = threadIdx.x; i < width; i += kThreads) {
    float sum = rows[i];
    for (int64_t r = 1; r < num_rows; ++r) sum += rows[r * width + i];
    out[i] = sum * factor;
  }
  if (!p.normalizes) return;
  __syncthreads();
  const int lane = threadIdx.x % kWarpThreads;
  for (int64_t g = threadIdx.x / kWarpThreads; g < p.num_kv_heads; g += kThreads / kWarpThreads) {
    float* head = out + g * p.head_dim;
    float squares = 0;
    for (int64_t d = lane; d < p.head_dim; d += kWarpThreads) squares += head[d] * head[d];
    squares = warp_sum(squares);
    const float scale = 1.0F / fmaxf(sqrtf(squares), 1e-12F);
    for (int64_t d = lane; d < p.head_dim; d += kWarpThreads) head[d] *= scale;
  }
}

}  // namespace

void pool_chunks_cuda(const PoolChunksParams& params, int64_t num_documents, int64_t num_chunks,
                      CudaStream stream) {
  if (num_chunks == 0) return;
  MSA_CHECK(num_chunks <= 0x7fffffff, "at most 2^31 - 1 chunks can be pooled at once, got ",
            num_chunks);
  pool_chunks_kernel<<<static_cast<unsigned>(num_chunks), kThreads, 0,
                       static_cast<cudaStream_t>(stream)>>>(params, num_documents);
  expect_launched("pool_chunks");
}

}  // namespace msa::kernels
