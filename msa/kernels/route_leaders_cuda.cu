// Each block finds the leader of its part of the memory.

#include "msa/kernels/chunk_scores.cuh"
#include "msa/kernels/clear_zeros.cuh"
#include "msa/kernels/dependent_launch.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarpThreads;
constexpr int kTogether = 12;  // chunks that a thread looks at at a time

__device__ uint64_t warp_largest(uint64_t value) {
  for (int step = kWarpThreads / 2; step > 0; step /= 2) {
    value = max(value, static_cast<uint64_t>(__shfl_xor_sync(
                           kAllLanes, static_cast<unsigned long long>(value), step)));
  }
  return value;
}

__global__ void __launch_bounds__(kThreads)
    find_leaders_kernel(const __grid_constant__ RouteBatchParams p, RouteBatchSpace space) {
  __shared__ uint64_t shared[kWarps];
  const int question = static_cast<int>(blockIdx.y);
  const uint32_t* score = space.chunk_score + question * p.num_chunks;
  int64_t begin = p.num_chunks * blockIdx.x / kLeaders;
  const int64_t end = p.num_chunks * (blockIdx.x + 1) / kLeaders;
  // The rest of a document that began before is left to the block before.
  if (begin > 0 && begin < end) begin = p.first_chunk[p.document_of_chunk[begin - 1] + 1];
  // What the layer before had there, it has read: the scan's queries waited for it.
  clear_zeros(space.late_zeros, blockIdx.y * gridDim.x + blockIdx.x, gridDim.x * gridDim.y);
  await_launched_before();
  release_launched_after();
  uint64_t best = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kTogether * kThreads) {
    uint32_t value[kTogether];
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int64_t chunk = i + j * kThreads;
      value[j] = chunk < end ? __ldcg(score + chunk) : 0;
    }
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int64_t chunk = i + j * kThreads;
      const uint64_t entry = entry_of(value[j], chunk);
      if (entry <= best || is_hidden(p, question, p.document_of_chunk[chunk])) continue;
      best = entry;
    }
  }
  best = warp_largest(best);
  if (threadIdx.x % kWarpThreads == 0) shared[threadIdx.x / kWarpThreads] = best;
  __syncthreads();
  if (threadIdx.x >= kWarpThreads) return;
  best = warp_largest(shared[threadIdx.x % kWarps]);
  if (threadIdx.x > 0) return;
  space.leader[question * kLeaders + blockIdx.x] = best;
}

}  // namespace

void find_leaders(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream) {
  const dim3 grid(kLeaders, static_cast<unsigned>(params.num_questions));
  launch_dependent(find_leaders_kernel, grid, kThreads, 0, static_cast<cudaStream_t>(stream),
                   params, space);
}

}  // namespace msa::kernels
