#pragma once
// What the multiplying warps of a block share in a fused step: their ring, scratch in shared memory
// and the barrier with other blocks. Only where __CUDA_ARCH__ >= 900.

#include "msa/kernels/fused_step_weights.cuh"
#include "msa/kernels/grid_barrier.cuh"

namespace msa::kernels {

constexpr int kStepWarps = 10;  // that multiply: 16 bytes a thread are a row of 2560
constexpr int kStepThreads = kStepWarps * kWarpThreads;
constexpr int kStepBlockThreads = kStepThreads + kWarpThreads;  // and a warp that copies
constexpr int kStepBatch = 128;                                 // rows finished together
constexpr int64_t kLongestStepRow = 8 * kStepThreads * 8;       // 8 pieces a thread
constexpr int64_t kStepSumBytes = 2 * kStepBatch * kStepWarps * sizeof(float);

/// The multiplying warps meet; the copying one does not.
__device__ inline void meet_step() {
  asm volatile("bar.sync 1, %0;" ::"n"(kStepThreads) : "memory");
}

/// A thread's view.
struct StepBlock {
  int warp;
  int lane;
  RingBarriers& ring_barriers;
  const std::byte* ring;
  RingPlace place;
  float* sums;     // scratch: [2, kStepBatch, kStepWarps], or the sums of attention
  float* squares;  // [kStepWarps]
  uint64_t (&best)[kStepWarps];
  GridBarrier& barrier;  // used by thread 0

  /// The next stage, of so many pieces of 16 bytes, once it is there.
  __device__ const uint4* await_stage(int num_pieces) {
    place.fit(static_cast<uint32_t>(num_pieces) * 16);
    await_phase(shared_address(ring_barriers.full + place.slot()), place.parity());
    return reinterpret_cast<const uint4*>(ring + place.offset);
  }
  /// The thread has read it.
  __device__ void free_stage(int num_pieces) {
    arrive(shared_address(ring_barriers.empty + place.slot()));
    place.pass(static_cast<uint32_t>(num_pieces) * 16);
  }

  /// What this block wrote is ready. Its warps have met since.
  __device__ void tell_others() {
    if (threadIdx.x == 0) barrier.arrive();
  }
  /// Until all blocks have told.
  __device__ void await_others() {
    if (threadIdx.x == 0) barrier.await();
    meet_step();
  }
};

}  // namespace msa::kernels
