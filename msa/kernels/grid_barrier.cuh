#pragma once
// Where all blocks of a grid wait for each other. They must run at once, as those of a cooperative
// launch do.

#include <cuda_runtime.h>

#include <cstdint>

namespace msa::kernels {

/// Held by one thread of every block. `count` is device memory, zero before the first launch; it
/// only rises, and serves one launch after the other.
class GridBarrier {
 public:
  /// Before the block arrives for the first time, so that nobody has passed.
  __device__ explicit GridBarrier(uint64_t* count)
      : count_(count), goal_(read() / gridDim.x * gridDim.x) {}

  /// What this thread wrote, and what it knows of others' writes, can be seen behind await().
  __device__ void arrive() {
    asm volatile("red.release.gpu.global.add.u64 [%0], 1;" ::"l"(count_) : "memory");
    goal_ += gridDim.x;
  }

  /// Waits until all blocks have arrived as often as this one.
  __device__ void await() const {
    while (read() < goal_) {
    }
  }

 private:
  __device__ uint64_t read() const {
    uint64_t value;
    asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(count_) : "memory");
    return value;
  }

  uint64_t* count_;
  uint64_t goal_;
};

}  // namespace msa::kernels
