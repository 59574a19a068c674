// Chunks that were listed are scored without rounding, a few by a block at a time. The block that
// comes last chooses among their documents.

#include <algorithm>

#include "msa/kernels/chunk_scores.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/key_scores.cuh"
#include "msa/kernels/top_list.cuh"

namespace msa::kernels {
namespace {

using Scorer = KeyScorer<4>;

constexpr int kThreads = Scorer::kThreads;
using List = TopList<kThreads>;

/// One question's candidates by their fresh scores, which other blocks have raised.
struct Candidates {
  const int32_t* document;
  const uint32_t* fresh;

  __device__ uint64_t at(int64_t n) const {
    const int32_t own = document[n];
    return entry_of(__ldcg(fresh + own), own);
  }
};

/// By one block: the k best of `count` candidates.
__device__ __noinline__ void choose(List& list, const Candidates& candidates, int64_t count, int k,
                                    ScoredDocument* selected) {
  list.clear();
  if (count <= List::kListed) {
    for (int64_t n = threadIdx.x; n < count; n += kThreads) list.entry[n] = candidates.at(n);
    if (threadIdx.x == 0) list.count = static_cast<int>(count);
  } else {
    for (int64_t first = 0; first < count; first += List::kRound) {
      uint64_t value[List::kPerThread];
#pragma unroll
      for (int i = 0; i < List::kPerThread; ++i) {
        const int64_t n = first + i * kThreads + threadIdx.x;
        value[i] = n < count ? candidates.at(n) : 0;
      }
      list.add(value, k);
    }
  }
  list.sort(k);
  for (int i = static_cast<int>(threadIdx.x); i < k; i += kThreads) {
    const uint64_t entry = i < list.count ? list.entry[i] : 0;
    ScoredDocument document{-1, -INFINITY};
    if (entry != 0) document = {place_of(entry), from_ordered(score_of(entry))};
    selected[i] = document;
  }
}

template <bool kIsInt8>
__global__ void __launch_bounds__(kThreads, 1)
    choose_kernel(const __grid_constant__ RouteBatchParams p,
                  const __grid_constant__ TokenSpans spans, RouteBatchSpace space) {
  __shared__ union {
    Scorer scorer;
    List list;
  } shared;
  __shared__ bool is_last;
  await_launched_before();
  release_launched_after();
  const int question = static_cast<int>(blockIdx.y);
  const int64_t count = space.num_listed[question];
  const int64_t parts = (count + Scorer::kKeys - 1) / Scorer::kKeys;
  const auto num_blocks = static_cast<unsigned>(max(min(parts, int64_t{gridDim.x}), int64_t{1}));
  if (blockIdx.x >= num_blocks) return;
  if (blockIdx.x == 0 && threadIdx.x == 0 && p.num_rescored != nullptr) {
    p.num_rescored[question] = static_cast<int32_t>(count);
  }
  const int32_t* listed = space.listed + question * p.num_chunks;
  uint32_t* fresh = space.fresh + question * p.num_documents;
  for (int64_t part = blockIdx.x; part < parts; part += num_blocks) {
    const int64_t i = part * Scorer::kKeys;
    const auto together = static_cast<int>(min(count - i, int64_t{Scorer::kKeys}));
    shared.scorer.score<kIsInt8>(p, spans, question, listed + i, together, fresh);
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicAdd(space.ticket + question, 1U) == num_blocks - 1;
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  const Candidates candidates{space.candidate + question * p.num_documents, fresh};
  choose(shared.list, candidates, space.num_candidates[question], static_cast<int>(p.top_k),
         p.selected + question * p.top_k);
}

}  // namespace

void choose_listed(const RouteBatchParams& params, const TokenSpans& spans,
                   const RouteBatchSpace& space, CudaStream stream) {
  const auto blocks = static_cast<unsigned>(device_attribute(cudaDevAttrMultiProcessorCount));
  auto* kernel = params.key_type == NumberType::kInt8 ? choose_kernel<true> : choose_kernel<false>;
  launch_dependent(kernel, dim3(blocks, static_cast<unsigned>(params.num_questions)), kThreads, 0,
                   static_cast<cudaStream_t>(stream), params, spans, space);
}

}  // namespace msa::kernels
