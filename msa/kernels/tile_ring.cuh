#pragma once
// Rings of tiles in shared memory (sm_90a): the copy engine fills them, groups of warps multiply
// what is there, two of them in turn.

#include "msa/kernels/byte_barrier.cuh"
#include "msa/kernels/warpgroup_code.cuh"

namespace msa::kernels {

/// Two groups of four warps multiply in turn. Each waits at a barrier of its own, 1 + group, where
/// the other arrives.
__device__ inline void await_turn(int group) {
  asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "n"(2 * kGroupThreads) : "memory");
}
__device__ inline void pass_turn(int group) {
  asm volatile("bar.arrive %0, %1;" ::"r"(2 - group), "n"(2 * kGroupThreads) : "memory");
}

/// A ring of kStages tiles of kBytes. `full` ends a phase when a tile has come, `empty` when all
/// warps that multiply it have done so.
template <int kStages, int kBytes>
struct TileRing {
  static constexpr int kStageBytes = kBytes;
  static constexpr int kRingBytes = kStages * kBytes;

  uint32_t memory;
  uint32_t barriers;  // of 8 bytes: those of `full`, then those of `empty`
  int stage = 0;
  uint32_t parity = 0;

  /// By one thread, once. `num_warps` release a stage.
  __device__ void init(uint32_t num_warps) const {
    for (int i = 0; i < kStages; ++i) {
      init_barrier(barriers + i * 8, 1);
      init_barrier(barriers + (kStages + i) * 8, num_warps);
    }
  }
  __device__ uint32_t place() const { return memory + static_cast<uint32_t>(stage * kBytes); }
  __device__ uint32_t full() const { return barriers + static_cast<uint32_t>(stage * 8); }
  __device__ uint32_t empty() const {
    return barriers + static_cast<uint32_t>((kStages + stage) * 8);
  }
  __device__ void await_empty() const { await_phase(empty(), parity ^ 1); }
  __device__ void await_full() const { await_phase(full(), parity); }
  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

}  // namespace msa::kernels
