// The k best documents: every block keeps the best of its part in shared memory; the block that
// comes last merges them.

#include <algorithm>

#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/route_batch_parts.h"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 10;
constexpr int kRound = kThreads * kPerThread;  // entries looked at together
constexpr int kMostAdded = static_cast<int>(kMostRouted) * kPerThread;  // of them, to the list
constexpr int kListed = 2 * kMostAdded;

/// A document in the order of choice: the larger score, then the lower place. 0 is none.
__device__ uint64_t entry_of(uint32_t score, int64_t document) {
  return score == 0 ? 0 : (static_cast<uint64_t>(score) << 32) | (~static_cast<uint32_t>(document));
}

/// The best `k` of all that was added, in shared memory. Used by a whole block.
struct TopList {
  uint64_t entry[kListed];
  uint64_t largest[kThreads];  // of each thread, in a round
  uint64_t bound;              // k entries of the round reach it
  uint64_t least;              // entries up to here need not be added
  int count;

  __device__ void clear() {
    __syncthreads();
    if (threadIdx.x == 0) {
      least = 0;
      count = 0;
    }
    __syncthreads();
  }

  /// Entries of one round, all different unless 0. Of the threads at most k hold an entry that
  /// reaches the k-th of the threads' largest, so that few are added and none of the k best is
  /// lost.
  __device__ void add(const uint64_t (&value)[kPerThread], int k) {
    uint64_t mine = 0;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) mine = max(mine, value[i]);
    const bool is_needed = __syncthreads_or(mine > least);
    if (!is_needed) return;
    largest[threadIdx.x] = mine;
    if (threadIdx.x == 0) bound = 1;
    __syncthreads();
    int rank = 0;
#pragma unroll 16
    for (int t = 0; t < kThreads; ++t) rank += largest[t] > mine ? 1 : 0;
    if (mine != 0 && rank == k - 1) bound = mine;
    __syncthreads();
    const uint64_t lowest = max(bound, least + 1);
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      if (value[i] >= lowest) entry[atomicAdd(&count, 1)] = value[i];
    }
    __syncthreads();
    if (count > kMostAdded) sort(k);
  }

  /// Leaves the k best, best first. Entries differ, so that each has a place of its own.
  __device__ void sort(int k) {
    __syncthreads();
    const int held = count;
    uint64_t mine[kListed / kThreads];
    int rank[kListed / kThreads];
#pragma unroll
    for (int i = 0; i < kListed / kThreads; ++i) {
      const int place = i * kThreads + static_cast<int>(threadIdx.x);
      mine[i] = place < held ? entry[place] : 0;
      rank[i] = 0;
      if (i * kThreads >= held) continue;
      for (int other = 0; other < held; ++other) rank[i] += entry[other] > mine[i] ? 1 : 0;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kListed / kThreads; ++i) {
      if (mine[i] != 0 && rank[i] < k) entry[rank[i]] = mine[i];
    }
    if (threadIdx.x == 0) count = min(held, k);
    __syncthreads();
    if (threadIdx.x == 0) least = count == k ? entry[k - 1] : 0;
    __syncthreads();
  }
};

/// What is chosen from: all documents by their scanned scores, but for the hidden ones.
struct Documents {
  const uint32_t* score;
  const uint32_t* hidden;
  int64_t count;

  __device__ Documents(const RouteBatchSpace& space, const uint32_t* all_hidden,
                       int64_t num_documents, int question)
      : score(space.score + question * num_documents),
        hidden(all_hidden == nullptr ? nullptr
                                     : all_hidden + question * ((num_documents + 31) / 32)),
        count(num_documents) {}

  __device__ uint64_t at(int64_t n) const {
    const bool is_hidden = hidden != nullptr && (hidden[n / 32] >> (n % 32) & 1U) != 0;
    return is_hidden ? 0 : entry_of(score[n], n);
  }
  __device__ void keep(int64_t /*n*/) const {}
};

/// Or the candidates by their fresh scores, which are kept.
struct Candidates {
  const int32_t* document;
  const uint32_t* fresh;
  uint32_t* score;
  int64_t count;

  __device__ Candidates(const RouteBatchSpace& space, const uint32_t* /*hidden*/,
                        int64_t num_documents, int question)
      : document(space.candidate + question * num_documents),
        fresh(space.fresh + question * num_documents),
        score(space.score + question * num_documents),
        count(space.num_candidates[question]) {}

  __device__ uint64_t at(int64_t n) const { return entry_of(fresh[document[n]], document[n]); }
  __device__ void keep(int64_t n) const { score[document[n]] = fresh[document[n]]; }
};

constexpr int64_t kFew = 4 * kRound;  // entries that one block looks through by itself

template <typename Source>
__global__ void __launch_bounds__(kThreads)
    select_kernel(RouteBatchSpace space, const uint32_t* hidden, int64_t num_documents, int k,
                  ScoredDocument* selected) {
  __shared__ TopList list;
  __shared__ bool is_last;
  await_launched_before();
  release_launched_after();
  const int question = static_cast<int>(blockIdx.y);
  const Source source(space, hidden, num_documents, question);
  const bool is_alone = source.count <= kFew;
  if (is_alone && blockIdx.x > 0) return;
  const int num_blocks = is_alone ? 1 : kSelectBlocks;
  const int64_t begin = source.count * blockIdx.x / num_blocks;
  const int64_t end = source.count * (blockIdx.x + 1) / num_blocks;
  list.clear();
  for (int64_t first = begin; first < end; first += kRound) {
    uint64_t value[kPerThread];
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int64_t n = first + i * kThreads + threadIdx.x;
      value[i] = n < end ? source.at(n) : 0;
      if (n < end) source.keep(n);
    }
    list.add(value, k);
  }
  list.sort(k);
  if (!is_alone) {
    uint64_t* part = space.part + question * static_cast<int64_t>(kSelectBlocks) * k;
    for (int i = static_cast<int>(threadIdx.x); i < k; i += kThreads) {
      part[static_cast<int64_t>(blockIdx.x) * k + i] = i < list.count ? list.entry[i] : 0;
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      is_last = atomicAdd(space.ticket + question, 1U) == kSelectBlocks - 1;
    }
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    list.clear();
    const int num_parts = kSelectBlocks * k;
    for (int first = 0; first < num_parts; first += kRound) {
      uint64_t value[kPerThread];
#pragma unroll
      for (int i = 0; i < kPerThread; ++i) {
        const int place = first + i * kThreads + static_cast<int>(threadIdx.x);
        value[i] = place < num_parts ? __ldcg(part + place) : 0;
      }
      list.add(value, k);
    }
    list.sort(k);
    if (threadIdx.x == 0) space.ticket[question] = 0;
  }
  for (int i = static_cast<int>(threadIdx.x); i < k; i += kThreads) {
    const uint64_t entry = i < list.count ? list.entry[i] : 0;
    space.best[question * k + i] = entry;
    if (selected == nullptr) continue;
    ScoredDocument document{-1, -INFINITY};
    if (entry != 0) {
      document = {static_cast<int64_t>(~static_cast<uint32_t>(entry)),
                  from_ordered(static_cast<uint32_t>(entry >> 32))};
    }
    selected[question * k + i] = document;
  }
}

template <typename Source>
void select(const RouteBatchParams& params, const RouteBatchSpace& space, int64_t count,
            ScoredDocument* selected, CudaStream stream) {
  const dim3 grid(kSelectBlocks, static_cast<unsigned>(params.num_questions));
  launch_dependent(select_kernel<Source>, grid, kThreads, 0, static_cast<cudaStream_t>(stream),
                   space, params.hidden, params.num_documents, static_cast<int>(count), selected);
}

__global__ void __launch_bounds__(kThreads)
    add_scores_kernel(const uint32_t* score, float share, int64_t count, float* sum) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) sum[i] += share * (score[i] == 0 ? -INFINITY : from_ordered(score[i]));
}

}  // namespace

void select_documents(const RouteBatchParams& params, const RouteBatchSpace& space,
                      CudaStream stream) {
  select<Documents>(params, space, space.num_best, nullptr, stream);
}

void select_candidates(const RouteBatchParams& params, const RouteBatchSpace& space,
                       CudaStream stream) {
  select<Candidates>(params, space, params.top_k, params.selected, stream);
}

void add_scores(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream) {
  const int64_t count = params.num_questions * params.num_documents;
  add_scores_kernel<<<static_cast<unsigned>((count + kThreads - 1) / kThreads), kThreads, 0,
                      static_cast<cudaStream_t>(stream)>>>(space.score, params.score_share, count,
                                                           params.score_sum);
  expect_launched("add_scores");
}

}  // namespace msa::kernels
