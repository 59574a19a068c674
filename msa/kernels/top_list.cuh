#pragma once
// The best of many documents, kept in shared memory.

#include <cuda_runtime.h>

#include <cstdint>

#include "msa/kernels/route_batch.h"

namespace msa::kernels {

/// The best `k` <= kMostRouted of all entries that were added. Used by a whole block of kThreads.
template <int kThreads>
struct TopList {
  static constexpr int kPerThread = 6;
  static constexpr int kRound = kThreads * kPerThread;  // entries looked at together
  static constexpr int kMostAdded = static_cast<int>(kMostRouted) * kPerThread;  // to the list
  static constexpr int kListed = 2 * kMostAdded;
  static_assert(kListed % kThreads == 0);

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
    drop_lighter(k);
    const int held = count;
    uint64_t mine[kListed / kThreads];
    int rank[kListed / kThreads];
#pragma unroll
    for (int i = 0; i < kListed / kThreads; ++i) {
      const int place = i * kThreads + static_cast<int>(threadIdx.x);
      mine[i] = place < held ? entry[place] : 0;
      rank[i] = 0;
      if (mine[i] == 0) continue;
#pragma unroll 8
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

 private:
  /// Leaves the k best and few others, those that reach a score which is found bit by bit: to
  /// compare all with all takes longer.
  __device__ void drop_lighter(int k) {
    constexpr int kEach = kListed / kThreads;
    const int held = count;
    if (held <= 4 * k) return;
    uint64_t mine[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int place = i * kThreads + static_cast<int>(threadIdx.x);
      mine[i] = place < held ? entry[place] : 0;
    }
    const auto reaches = [&](int i, uint32_t score) {
      return static_cast<uint32_t>(mine[i] >> 32) >= score;
    };
    uint32_t lowest = 0;
    for (uint32_t bit = 0x80000000U; bit != 0; bit >>= 1) {
      int num_reach = 0;
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        if (i * kThreads < held) num_reach += __syncthreads_count(reaches(i, lowest | bit));
      }
      if (num_reach < k) continue;
      lowest |= bit;
      if (num_reach <= 4 * k) break;
    }
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (mine[i] != 0 && reaches(i, lowest)) entry[atomicAdd(&count, 1)] = mine[i];
    }
    __syncthreads();
  }
};

}  // namespace msa::kernels
