// The k best documents: every block keeps the best of its part in shared memory; the block that
// comes last merges them.

#include <algorithm>

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/route_batch_parts.h"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kListed = 2048;        // power of two
constexpr int kRound = kListed / 2;  // looked at between two looks at the list's length
constexpr int kPerThread = kRound / kThreads;

/// A document in the order of choice: the larger score, then the lower place. 0 is none.
__device__ uint64_t entry_of(uint32_t score, int64_t document) {
  return score == 0 ? 0 : (static_cast<uint64_t>(score) << 32) | (~static_cast<uint32_t>(document));
}

/// The best `k` of all that was added, in shared memory. Used by a whole block.
struct TopList {
  uint64_t entry[kListed];
  uint64_t least;  // entries up to here need not be added
  int count;

  __device__ void clear() {
    __syncthreads();
    if (threadIdx.x == 0) {
      least = 0;
      count = 0;
    }
    __syncthreads();
  }

  /// From any thread, at most kRound times between two calls of trim.
  __device__ void add(uint64_t value) {
    if (value > least) entry[atomicAdd(&count, 1)] = value;
  }

  /// Behind it there is room for another round.
  __device__ void trim(int k, bool sorts) {
    __syncthreads();
    const int held = count;
    __syncthreads();  // all have seen the length before anybody adds again
    if (!sorts && held <= kRound) return;
    for (int i = held + static_cast<int>(threadIdx.x); i < kListed; i += kThreads) entry[i] = 0;
    __syncthreads();
    for (int length = 2; length <= kListed; length *= 2) {
      for (int step = length / 2; step > 0; step /= 2) {
        for (int i = static_cast<int>(threadIdx.x); i < kListed / 2; i += kThreads) {
          const int low = i / step * step * 2 + i % step;
          const uint64_t a = entry[low];
          const uint64_t b = entry[low + step];
          const bool falls = (low & length) == 0;
          if ((a < b) == falls) {
            entry[low] = b;
            entry[low + step] = a;
          }
        }
        __syncthreads();
      }
    }
    if (threadIdx.x == 0) {
      count = min(count, k);
      least = count == k ? entry[k - 1] : 0;
    }
    __syncthreads();
  }
};

__global__ void __launch_bounds__(kThreads)
    select_kernel(RouteBatchSpace space, const uint32_t* hidden, int64_t num_documents, int k,
                  ScoredDocument* selected) {
  __shared__ TopList list;
  __shared__ bool is_last;
  const int question = static_cast<int>(blockIdx.y);
  const uint32_t* score = space.score + question * num_documents;
  if (hidden != nullptr) hidden += question * ((num_documents + 31) / 32);
  const int64_t begin = num_documents * blockIdx.x / kSelectBlocks;
  const int64_t end = num_documents * (blockIdx.x + 1) / kSelectBlocks;
  list.clear();
  for (int64_t first = begin; first < end; first += kRound) {
    uint32_t value[kPerThread];
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int64_t n = first + i * kThreads + threadIdx.x;
      value[i] = n < end ? score[n] : 0;
      if (hidden != nullptr && n < end && (hidden[n / 32] >> (n % 32) & 1U) != 0) value[i] = 0;
    }
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      list.add(entry_of(value[i], first + i * kThreads + threadIdx.x));
    }
    list.trim(k, false);
  }
  list.trim(k, true);
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
    for (int i = 0; i < kPerThread; ++i) {
      const int place = first + i * kThreads + static_cast<int>(threadIdx.x);
      if (place < num_parts) list.add(__ldcg(part + place));
    }
    list.trim(k, false);
  }
  list.trim(k, true);
  if (threadIdx.x == 0) space.ticket[question] = 0;
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

}  // namespace

void select_documents(const RouteBatchParams& params, const RouteBatchSpace& space,
                      ScoredDocument* selected, CudaStream stream) {
  const dim3 grid(kSelectBlocks, static_cast<unsigned>(params.num_questions));
  select_kernel<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      space, params.hidden, params.num_documents, static_cast<int>(params.top_k), selected);
  expect_launched("select_documents");
}

}  // namespace msa::kernels
