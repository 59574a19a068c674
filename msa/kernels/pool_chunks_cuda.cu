// One block a chunk of a plane: a thread sums its columns over the chunk's rows, each as the CPU
// does and in its order.

#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/pool_chunks.h"
#include "msa/kernels/row_numbers.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = 128;

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

/// A thread's neighbouring columns: kWidth is 8 where rows are whole eights, else 1.
template <int kWidth, typename Number>
__device__ void read_columns(const Number* row, float (&columns)[kWidth]) {
  if constexpr (kWidth == kEight) {
    read_eight(row, columns);
  } else {
    columns[0] = read_one(row);
  }
}

template <int kWidth, typename Number>
__device__ void pool_columns(const Number* row, int64_t stride, int64_t num_rows, float* out) {
  float sum[kWidth];
  read_columns<kWidth>(row, sum);
#pragma unroll 8
  for (int64_t r = 1; r < num_rows; ++r) {
    float columns[kWidth];
    read_columns<kWidth>(row + r * stride, columns);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum[i] += columns[i];
  }
  const float factor = 1.0F / static_cast<float>(num_rows);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sum[i] *= factor;
  if constexpr (kWidth == kEight) {
    write_eight(out, sum);
  } else {
    out[0] = sum[0];
  }
}

template <int kWidth, typename Number>
__global__ void __launch_bounds__(kThreads)
    pool_chunks_kernel(const __grid_constant__ PoolPlanesParams p) {
  await_launched_before();
  release_launched_after();
  const PooledPlane& plane = p.plane[blockIdx.y];
  const int64_t chunk = p.first_chunk[0] + blockIdx.x;
  const int64_t document = document_of(p.first_chunk, p.num_documents, chunk);
  const int64_t begin = p.offsets[document] + (chunk - p.first_chunk[document]) * p.chunk_tokens;
  const int64_t left = p.offsets[document + 1] - begin;
  const int64_t num_rows = left < p.chunk_tokens ? left : p.chunk_tokens;
  const int64_t width = p.num_kv_heads * p.head_dim;
  const Number* rows = static_cast<const Number*>(plane.row) + begin * plane.row_stride;
  float* out = plane.pooled + chunk * width;
  for (int64_t i = threadIdx.x * kWidth; i < width; i += kThreads * kWidth) {
    pool_columns<kWidth>(rows + i, plane.row_stride, num_rows, out + i);
  }
  if (!plane.normalizes) return;
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

/// Whether every eight columns of every row stand at a multiple of 16 bytes.
bool is_whole_eights(const PoolPlanesParams& params) {
  bool is_whole = params.num_kv_heads * params.head_dim % kEight == 0;
  for (int i = 0; i < params.num_planes; ++i) {
    const PooledPlane& plane = params.plane[i];
    const auto address =
        reinterpret_cast<uintptr_t>(plane.row) | reinterpret_cast<uintptr_t>(plane.pooled);
    is_whole = is_whole && plane.row_stride % kEight == 0 && address % sizeof(uint4) == 0;
  }
  return is_whole;
}

}  // namespace

void pool_chunks_cuda(const PoolPlanesParams& params, CudaStream stream) {
  if (params.num_chunks == 0) return;
  MSA_CHECK(params.num_planes > 0 && params.num_planes <= kMostPlanes, "1 to ", kMostPlanes,
            " planes can be pooled at once, got ", params.num_planes);
  MSA_CHECK(params.num_chunks <= 0x7fffffff, "at most 2^31 - 1 chunks can be pooled at once, got ",
            params.num_chunks);
  const bool is_bfloat16 = params.type == NumberType::kBFloat16;
  auto* wide =
      is_bfloat16 ? pool_chunks_kernel<kEight, BFloat16> : pool_chunks_kernel<kEight, float>;
  auto* narrow = is_bfloat16 ? pool_chunks_kernel<1, BFloat16> : pool_chunks_kernel<1, float>;
  const dim3 grid(static_cast<unsigned>(params.num_chunks),
                  static_cast<unsigned>(params.num_planes));
  launch_dependent(is_whole_eights(params) ? wide : narrow, grid, kThreads, 0,
                   static_cast<cudaStream_t>(stream), params);
  expect_launched("pool_chunks");
}

}  // namespace msa::kernels
