// Documents' scores for those who add them up over layers.

#include "msa/kernels/chunk_scores.cuh"
#include "msa/kernels/dependent_launch.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;

/// A thread takes a document; those of many chunks are taken by its whole warp.
__global__ void __launch_bounds__(kThreads)
    add_scores_kernel(const __grid_constant__ RouteBatchParams p, RouteBatchSpace space) {
  constexpr int64_t kFew = 32;
  await_launched_before();
  release_launched_after();
  const int question = static_cast<int>(blockIdx.y);
  const uint32_t* score = space.chunk_score + question * p.num_chunks;
  const int64_t document = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const bool is_inside = document < p.num_documents;
  const int64_t first = is_inside ? p.first_chunk[document] : 0;
  const int64_t end = is_inside ? p.first_chunk[document + 1] : 0;
  uint32_t best = is_inside ? space.fresh[question * p.num_documents + document] : 0;
  const bool is_long = best == 0 && end - first > kFew;
  for (uint32_t left = __ballot_sync(kAllLanes, is_long); left != 0; left &= left - 1) {
    const int lane = __ffs(static_cast<int>(left)) - 1;
    const int64_t last = __shfl_sync(kAllLanes, static_cast<long long>(end), lane);
    uint32_t most = 0;
    for (int64_t chunk = __shfl_sync(kAllLanes, static_cast<long long>(first), lane) +
                         threadIdx.x % kWarpThreads;
         chunk < last; chunk += kWarpThreads) {
      most = max(most, score[chunk]);
    }
    most = __reduce_max_sync(kAllLanes, most);
    if (static_cast<int>(threadIdx.x % kWarpThreads) == lane) best = most;
  }
  if (!is_inside) return;
  if (best == 0) {
    for (int64_t chunk = first; chunk < end; ++chunk) best = max(best, score[chunk]);
  }
  p.score_sum[question * p.num_documents + document] +=
      p.score_share * (best == 0 ? -INFINITY : from_ordered(best));
}

}  // namespace

void add_scores(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream) {
  const dim3 grid(static_cast<unsigned>((params.num_documents + kThreads - 1) / kThreads),
                  static_cast<unsigned>(params.num_questions));
  launch_dependent(add_scores_kernel, grid, kThreads, 0, static_cast<cudaStream_t>(stream), params,
                   space);
}

}  // namespace msa::kernels
