#pragma once
// What the steps behind a scan make of its scores of chunks.

#include <cuda_runtime.h>

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/route_batch_parts.h"

namespace msa::kernels {

/// A scan's score as it is kept; what is not a number is below all numbers.
__device__ inline uint32_t kept_score(float score) { return to_ordered(fmaxf(score, -INFINITY)); }

/// Whether question `question` does not see a document.
__device__ inline bool is_hidden(const RouteBatchParams& p, int question, int64_t document) {
  if (p.hidden == nullptr) return false;
  const int64_t word = question * ((p.num_documents + 31) / 32) + document / 32;
  return (p.hidden[word] >> (document % 32) & 1U) != 0;
}

/// A document, or a chunk, in the order of choice: the larger score, then the lower place. 0 is
/// none.
__device__ inline uint64_t entry_of(uint32_t score, int64_t document) {
  return score == 0 ? 0 : (static_cast<uint64_t>(score) << 32) | (~static_cast<uint32_t>(document));
}
__device__ inline int64_t place_of(uint64_t entry) {
  return static_cast<int64_t>(~static_cast<uint32_t>(entry));
}
__device__ inline uint32_t score_of(uint64_t entry) { return static_cast<uint32_t>(entry >> 32); }

/// How far scanned scores of a question may be from those in float32.
struct ScoreWindow {
  float window;
  float by_scale;
  float by_error;

  /// At least the score in float32 of a packed key of this scale.
  __device__ float reach(uint32_t scanned, float scale) const {
    const auto error = static_cast<float>(__float_as_uint(scale) & kErrorBits);
    return fmaf(scale, fmaf(error, by_error, by_scale), from_ordered(scanned)) + window;
  }
};

/// A question's leaders in their order. Used by a whole block of at least kLeaders threads.
struct LeaderOrder {
  // The upper bits of a score and, in the lower, which leader it is of.
  alignas(16) uint32_t place[kLeaders];
  uint64_t found;
  uint32_t window[3];

  /// The leader that `rank` others go before, or 0. So many go before it, or as good as it but for
  /// the lowest bits of a score, which floor_of() leaves out.
  __device__ uint64_t at(const uint64_t* leader, int rank) {
    const auto own = static_cast<int>(threadIdx.x);
    const uint64_t entry = own < kLeaders ? leader[own] : 0;
    const uint32_t mine = entry == 0 ? 0 : floor_of(score_of(entry)) | (kLeaders - 1 - own);
    if (own < kLeaders) place[own] = mine;
    if (own == 0) found = 0;
    __syncthreads();
    if (entry != 0) {
      int before = 0;
#pragma unroll 16
      for (int i = 0; i < kLeaders / 4; ++i) {
        const uint4 others = reinterpret_cast<const uint4*>(place)[i];
        before += (others.x > mine ? 1 : 0) + (others.y > mine ? 1 : 0);
        before += (others.z > mine ? 1 : 0) + (others.w > mine ? 1 : 0);
      }
      if (before == rank) found = entry;
    }
    __syncthreads();
    return found;
  }
  __device__ static uint32_t floor_of(uint32_t score) { return score & ~uint32_t{kLeaders - 1}; }

  /// The largest windows of a question's tokens, read past the first cache: so it may be called
  /// before await_launched_before() by a kernel that follows one which awaited the scan.
  template <bool kIsPacked>
  __device__ ScoreWindow largest_window(const TokenSpans& spans, const RouteBatchSpace& space,
                                        int question) {
    if (threadIdx.x < 3) window[threadIdx.x] = 0;
    __syncthreads();
    const auto raise = [](uint32_t* largest, float value) {
      atomicMax(largest, __float_as_uint(value));
    };
    for (int token = spans.filled[question] + static_cast<int>(threadIdx.x);
         token < spans.filled[question + 1]; token += static_cast<int>(blockDim.x)) {
      raise(window, __ldcg(space.window + token));
      if (!kIsPacked) continue;
      raise(window + 1, __ldcg(space.scale_window + token));
      raise(window + 2, __ldcg(space.error_window + token));
    }
    __syncthreads();
    return {__uint_as_float(window[0]), __uint_as_float(window[1]), __uint_as_float(window[2])};
  }
};
static_assert((kLeaders & (kLeaders - 1)) == 0 && kLeaders % 4 == 0);

}  // namespace msa::kernels
