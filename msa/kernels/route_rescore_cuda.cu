// Chunks that were listed are scored without rounding, a few by a block at a time.

#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/key_scores.cuh"

namespace msa::kernels {
namespace {

template <bool kIsInt8>
__global__ void __launch_bounds__(KeyScorer::kThreads, 2)
    rescore_kernel(const __grid_constant__ RouteBatchParams p,
                   const __grid_constant__ TokenSpans spans, RouteBatchSpace space) {
  __shared__ KeyScorer scorer;
  await_launched_before();
  release_launched_after();
  const int question = static_cast<int>(blockIdx.y);
  const int64_t count = space.num_listed[question];
  if (blockIdx.x == 0 && threadIdx.x == 0 && p.num_rescored != nullptr) {
    p.num_rescored[question] = static_cast<int32_t>(count);
  }
  const int32_t* listed = space.listed + question * p.num_chunks;
  const int64_t step = static_cast<int64_t>(gridDim.x) * KeyScorer::kKeys;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * KeyScorer::kKeys; i < count; i += step) {
    const auto together = static_cast<int>(min(count - i, int64_t{KeyScorer::kKeys}));
    scorer.score<kIsInt8>(p, spans, question, listed + i, together,
                          space.fresh + question * p.num_documents);
  }
}

}  // namespace

void rescore_listed(const RouteBatchParams& params, const TokenSpans& spans,
                    const RouteBatchSpace& space, CudaStream stream) {
  constexpr int kBlocksEach = 4;
  const auto blocks =
      static_cast<unsigned>(kBlocksEach * device_attribute(cudaDevAttrMultiProcessorCount));
  auto* kernel =
      params.key_type == NumberType::kInt8 ? rescore_kernel<true> : rescore_kernel<false>;
  launch_dependent(kernel, dim3(blocks, static_cast<unsigned>(params.num_questions)),
                   KeyScorer::kThreads, 0, static_cast<cudaStream_t>(stream), params, spans, space);
}

}  // namespace msa::kernels
