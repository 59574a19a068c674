// Which chunks are scored again. Without packed keys: all of the documents within the window. With
// them: those that can reach the worst of the documents that look best, whose scores are taken
// first.

#include <algorithm>

#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/key_scores.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kTogether = 8;  // chunks that a thread looks at at a time

__device__ bool is_hidden(const uint32_t* hidden, int64_t document) {
  return hidden != nullptr && (hidden[document / 32] >> (document % 32) & 1U) != 0;
}

__device__ const uint32_t* hidden_from(const RouteBatchParams& p, int question) {
  return p.hidden == nullptr ? nullptr : p.hidden + question * ((p.num_documents + 31) / 32);
}

__device__ void add_candidate(const RouteBatchParams& p, const RouteBatchSpace& space, int question,
                              int64_t document) {
  const unsigned place = atomicAdd(space.num_candidates + question, 1U);
  space.candidate[question * p.num_documents + place] = static_cast<int32_t>(document);
}

__global__ void __launch_bounds__(kThreads)
    list_candidates_kernel(const __grid_constant__ RouteBatchParams p, RouteBatchSpace space) {
  await_launched_before();
  release_launched_after();
  const int question = static_cast<int>(blockIdx.y);
  const uint32_t* score = space.score + question * p.num_documents;
  const uint32_t* hidden = hidden_from(p, question);
  const uint64_t last = space.best[(question + 1) * space.num_best - 1];
  // Fewer documents than asked for: all that were seen are chosen.
  const float lowest =
      last == 0 ? -INFINITY
                : from_ordered(static_cast<uint32_t>(last >> 32)) - space.window[question];
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t n = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; n < p.num_documents;
       n += step) {
    if (score[n] == 0 || from_ordered(score[n]) < lowest || is_hidden(hidden, n)) continue;
    add_candidate(p, space, question, n);
    const int64_t first = p.first_chunk[n];
    const auto count = static_cast<unsigned>(p.first_chunk[n + 1] - first);
    int32_t* listed =
        space.listed + question * p.num_chunks + atomicAdd(space.num_listed + question, count);
    for (unsigned i = 0; i < count; ++i) listed[i] = static_cast<int32_t>(first + i);
  }
}

/// A block takes one of the documents that look best, and of its chunks those that may be its best.
template <bool kIsInt8>
__global__ void __launch_bounds__(KeyScorer::kThreads)
    score_best_kernel(const __grid_constant__ RouteBatchParams p,
                      const __grid_constant__ TokenSpans spans, RouteBatchSpace space) {
  __shared__ KeyScorer scorer;
  __shared__ int32_t listed[KeyScorer::kThreads];
  __shared__ int count;
  await_launched_before();
  release_launched_after();
  const int question = static_cast<int>(blockIdx.y);
  const uint64_t entry = space.best[question * space.num_best + blockIdx.x];
  if (entry == 0) return;
  const auto document = static_cast<int64_t>(~static_cast<uint32_t>(entry));
  const float scanned = from_ordered(static_cast<uint32_t>(entry >> 32));
  const float* reach = space.reach + question * p.num_chunks;
  uint32_t* fresh = space.fresh + question * p.num_documents;
  if (threadIdx.x == 0) add_candidate(p, space, question, document);
  const int64_t end = p.first_chunk[document + 1];
  for (int64_t first = p.first_chunk[document]; first < end; first += KeyScorer::kThreads) {
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    const int64_t chunk = first + threadIdx.x;
    // So also where queries are not numbers: every document that is added here has a score.
    if (chunk < end && !(reach[chunk] < scanned)) {
      listed[atomicAdd(&count, 1)] = static_cast<int32_t>(chunk);
    }
    __syncthreads();
    const int found = count;
    for (int i = 0; i < found; i += KeyScorer::kKeys) {
      scorer.score<kIsInt8>(p, spans, question, listed + i, min(found - i, KeyScorer::kKeys),
                            fresh);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    list_reaching_kernel(const __grid_constant__ RouteBatchParams p, RouteBatchSpace space) {
  constexpr uint32_t kSeen = 1;  // below all scores, but not nothing
  __shared__ uint32_t first[kMostRouted];
  __shared__ float least;
  await_launched_before();
  release_launched_after();
  const int question = static_cast<int>(blockIdx.y);
  const uint32_t* hidden = hidden_from(p, question);
  const float* reach = space.reach + question * p.num_chunks;
  uint32_t* fresh = space.fresh + question * p.num_documents;
  const auto place = static_cast<int>(threadIdx.x);
  const bool is_taken = place < space.num_best;
  const uint64_t entry = is_taken ? space.best[question * space.num_best + place] : 0;
  const uint32_t own = entry == 0 ? 0 : fresh[~static_cast<uint32_t>(entry)];
  if (is_taken) first[place] = own;
  // Fewer documents than asked for: all that were seen are chosen.
  if (place == 0) least = -INFINITY;
  __syncthreads();
  // top_k documents have scores from `least` on.
  int rank = 0;
  for (int i = 0; i < space.num_best; ++i) {
    rank += first[i] > own || (first[i] == own && i < place) ? 1 : 0;
  }
  if (own != 0 && rank == p.top_k - 1) least = from_ordered(own);
  __syncthreads();
  const float lowest = least;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < p.num_chunks;
       i += kTogether * step) {
    float most[kTogether];
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int64_t chunk = i + j * step;
      most[j] = chunk < p.num_chunks ? reach[chunk] : 0;
    }
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int64_t chunk = i + j * step;
      if (chunk >= p.num_chunks || most[j] < lowest) continue;
      const int32_t document = p.document_of_chunk[chunk];
      if (is_hidden(hidden, document)) continue;
      space.listed[question * p.num_chunks + atomicAdd(space.num_listed + question, 1U)] =
          static_cast<int32_t>(chunk);
      if (atomicMax(fresh + document, kSeen) == 0) add_candidate(p, space, question, document);
    }
  }
}

dim3 grid_for(int64_t count, int64_t num_questions) {
  constexpr int kBlocksEach = 4;
  const int64_t blocks = kBlocksEach * device_attribute(cudaDevAttrMultiProcessorCount);
  const int64_t most = (count + kThreads - 1) / kThreads;
  return dim3(static_cast<unsigned>(std::min(blocks, most)), static_cast<unsigned>(num_questions));
}

}  // namespace

void list_candidates(const RouteBatchParams& params, const RouteBatchSpace& space,
                     CudaStream stream) {
  launch_dependent(list_candidates_kernel, grid_for(params.num_documents, params.num_questions),
                   kThreads, 0, static_cast<cudaStream_t>(stream), params, space);
}

void list_reaching(const RouteBatchParams& params, const TokenSpans& spans,
                   const RouteBatchSpace& space, CudaStream stream) {
  const auto at = static_cast<cudaStream_t>(stream);
  const dim3 grid(static_cast<unsigned>(space.num_best),
                  static_cast<unsigned>(params.num_questions));
  auto* kernel =
      params.key_type == NumberType::kInt8 ? score_best_kernel<true> : score_best_kernel<false>;
  launch_dependent(kernel, grid, KeyScorer::kThreads, 0, at, params, spans, space);
  launch_dependent(list_reaching_kernel, grid_for(params.num_chunks, params.num_questions),
                   kThreads, 0, at, params, space);
}

}  // namespace msa::kernels
