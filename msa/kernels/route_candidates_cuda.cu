// Which chunks are scored again. Without packed keys: those within the window below the top_k-th
// leader. With them: those that can reach the top_k-th of the best leaders, whose scores are taken
// first.

#include <algorithm>

#include "msa/kernels/chunk_scores.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/key_scores.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = 1024;  // few blocks, since each finds the bound
constexpr int kTogether = 12;   // chunks that a thread looks at at a time
constexpr int kTokenParts = 4;

using LeaderScorer = KeyScorer<1>;

__device__ void add_candidate(const RouteBatchParams& p, const RouteBatchSpace& space, int question,
                              int64_t document) {
  const unsigned place = atomicAdd(space.num_candidates + question, 1U);
  space.candidate[question * p.num_documents + place] = static_cast<int32_t>(document);
}

/// A block takes one of the best leaders, of its chunks those that may be its best, and a part of
/// the tokens.
template <bool kIsInt8>
__global__ void __launch_bounds__(LeaderScorer::kThreads, 1)
    score_leaders_kernel(const __grid_constant__ RouteBatchParams p,
                         const __grid_constant__ TokenSpans spans, RouteBatchSpace space) {
  __shared__ LeaderScorer scorer;
  __shared__ LeaderOrder order;
  __shared__ int32_t listed[LeaderScorer::kThreads];
  __shared__ int count;
  const int question = static_cast<int>(blockIdx.y);
  const auto part = static_cast<int>(blockIdx.z);
  // The scan and all before it have ended when this kernel may begin.
  const ScoreWindow window = order.largest_window<true>(spans, space, question);
  await_launched_before();
  release_launched_after();
  const uint64_t entry = order.at(space.leader + question * kLeaders, static_cast<int>(blockIdx.x));
  const int64_t document = entry == 0 ? -1 : p.document_of_chunk[place_of(entry)];
  if (part == 0 && threadIdx.x == 0) {
    space.best[question * space.num_best + blockIdx.x] = entry_of(score_of(entry), document);
    if (entry != 0) add_candidate(p, space, question, document);
  }
  if (entry == 0) return;
  const float scanned = from_ordered(score_of(entry));
  const uint32_t* score = space.chunk_score + question * p.num_chunks;
  uint32_t* fresh = space.fresh + question * p.num_documents;
  const int64_t end = p.first_chunk[document + 1];
  for (int64_t first = p.first_chunk[document]; first < end; first += LeaderScorer::kThreads) {
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    const int64_t chunk = first + threadIdx.x;
    // So also where queries are not numbers: every document that is added here has a score.
    if (chunk < end && !(window.reach(score[chunk], p.packed.scale[chunk]) < scanned)) {
      listed[atomicAdd(&count, 1)] = static_cast<int32_t>(chunk);
    }
    __syncthreads();
    const int found = count;
    for (int i = 0; i < found; i += LeaderScorer::kKeys) {
      const int together = min(found - i, LeaderScorer::kKeys);
      scorer.score<kIsInt8>(p, spans, question, listed + i, together, fresh, part, kTokenParts);
    }
  }
}

/// The top_k-th of the scores that the best leaders have, or below all where fewer were seen.
__device__ float least_of_best(const RouteBatchParams& p, const RouteBatchSpace& space,
                               int question) {
  __shared__ uint32_t first[kMostRouted];
  __shared__ float least;
  const auto place = static_cast<int>(threadIdx.x);
  const bool is_taken = place < space.num_best;
  const uint64_t entry = is_taken ? space.best[question * space.num_best + place] : 0;
  const uint32_t own = entry == 0 ? 0 : space.fresh[question * p.num_documents + place_of(entry)];
  if (is_taken) first[place] = own;
  if (place == 0) least = -INFINITY;
  __syncthreads();
  if (own != 0) {
    int rank = 0;
    for (int i = 0; i < space.num_best; ++i) {
      rank += first[i] > own || (first[i] == own && i < place) ? 1 : 0;
    }
    if (rank == p.top_k - 1) least = from_ordered(own);
  }
  __syncthreads();
  return least;
}

template <bool kIsPacked>
__global__ void __launch_bounds__(kThreads)
    list_kernel(const __grid_constant__ RouteBatchParams p,
                const __grid_constant__ TokenSpans spans, RouteBatchSpace space) {
  constexpr uint32_t kSeen = 1;  // below all scores, but not nothing
  __shared__ LeaderOrder order;
  const int question = static_cast<int>(blockIdx.y);
  const uint32_t* score = space.chunk_score + question * p.num_chunks;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  uint32_t scanned[kTogether];
  float scale[kTogether];
  const auto load = [&](int64_t first) {
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int64_t chunk = min(first + j * step, p.num_chunks - 1);
      scanned[j] = __ldcg(score + chunk);
      scale[j] = kIsPacked ? __ldcg(p.packed.scale + chunk) : 0.0F;
    }
  };
  // The scan and all before it have ended when this kernel may begin.
  load(begin);
  const ScoreWindow window = order.largest_window<kIsPacked>(spans, space, question);
  await_launched_before();
  release_launched_after();
  float lowest;
  if constexpr (kIsPacked) {
    lowest = least_of_best(p, space, question);
  } else {
    const uint64_t last =
        order.at(space.leader + question * kLeaders, static_cast<int>(p.top_k) - 1);
    // Fewer leaders than documents asked for: all chunks are listed.
    lowest =
        last == 0 ? -INFINITY : from_ordered(LeaderOrder::floor_of(score_of(last))) - window.window;
  }
  uint32_t* fresh = space.fresh + question * p.num_documents;
  for (int64_t i = begin; i < p.num_chunks; i += kTogether * step) {
    if (i != begin) load(i);
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int64_t chunk = i + j * step;
      const float most = kIsPacked ? window.reach(scanned[j], scale[j]) : from_ordered(scanned[j]);
      if (chunk >= p.num_chunks || most < lowest) continue;
      const int32_t document = p.document_of_chunk[chunk];
      if (is_hidden(p, question, document)) continue;
      space.listed[question * p.num_chunks + atomicAdd(space.num_listed + question, 1U)] =
          static_cast<int32_t>(chunk);
      if (atomicMax(fresh + document, kSeen) == 0) add_candidate(p, space, question, document);
    }
  }
}

}  // namespace

void score_leaders(const RouteBatchParams& params, const TokenSpans& spans,
                   const RouteBatchSpace& space, CudaStream stream) {
  const dim3 grid(static_cast<unsigned>(space.num_best),
                  static_cast<unsigned>(params.num_questions), kTokenParts);
  auto* kernel = params.key_type == NumberType::kInt8 ? score_leaders_kernel<true>
                                                      : score_leaders_kernel<false>;
  launch_dependent(kernel, grid, LeaderScorer::kThreads, 0, static_cast<cudaStream_t>(stream),
                   params, spans, space);
}

void list_candidates(const RouteBatchParams& params, const TokenSpans& spans,
                     const RouteBatchSpace& space, CudaStream stream) {
  const int64_t blocks = device_attribute(cudaDevAttrMultiProcessorCount);
  const int64_t most = (params.num_chunks + kThreads - 1) / kThreads;
  const dim3 grid(static_cast<unsigned>(std::min(blocks, most)),
                  static_cast<unsigned>(params.num_questions));
  auto* kernel = params.packed.value != nullptr ? list_kernel<true> : list_kernel<false>;
  launch_dependent(kernel, grid, kThreads, 0, static_cast<cudaStream_t>(stream), params, spans,
                   space);
}

}  // namespace msa::kernels
