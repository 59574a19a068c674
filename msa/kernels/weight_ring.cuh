#pragma once
// A ring of bytes in shared memory through which one thread streams stages of any size to the warps
// of its block. Only where __CUDA_ARCH__ >= 900.

#include "msa/kernels/byte_barrier.cuh"
#include "msa/kernels/device_code.cuh"

namespace msa::kernels {

constexpr int kRingStages = 64;  // in the ring at once, at most

struct RingBarriers {
  uint64_t full[kRingStages];
  uint64_t empty[kRingStages];
  uint32_t end[kRingStages];  // of the writer: bytes up to the end of each stage

  __device__ void init(int num_readers) {
    for (int i = 0; i < kRingStages; ++i) {
      init_barrier(shared_address(full + i), 1);
      init_barrier(shared_address(empty + i), static_cast<uint32_t>(num_readers));
    }
    publish_barriers();
  }
};

/// Where stages stand. Both sides go through the same stages and so find the same places.
struct RingPlace {
  uint32_t num_bytes;   // of the ring
  uint32_t stage = 0;   // number of the next one
  uint32_t offset = 0;  // its first byte

  /// A stage that would reach over the end stands at the start. Returns the bytes left out.
  __device__ uint32_t fit(uint32_t stage_bytes) {
    if (offset + stage_bytes <= num_bytes) return 0;
    const uint32_t left_out = num_bytes - offset;
    offset = 0;
    return left_out;
  }
  __device__ void pass(uint32_t stage_bytes) {
    offset += stage_bytes;
    ++stage;
  }
  __device__ uint32_t slot() const { return stage % kRingStages; }
  __device__ uint32_t parity() const { return stage / kRingStages % 2; }
};

/// The side of the thread that copies.
class RingWriter {
 public:
  /// No more than `most_under_way` bytes and a stage are on their way at once: what is asked for
  /// beyond what the memory needs to be busy makes everybody else's reads and writes wait.
  __device__ RingWriter(RingBarriers& barriers, uint32_t num_bytes, uint32_t most_under_way)
      : barriers_(barriers),
        most_under_way_(most_under_way),
        place_{num_bytes},
        oldest_{num_bytes},
        coming_{num_bytes} {}

  /// Waits for room and returns where the stage begins. The ring must hold two such stages.
  __device__ uint32_t take(uint32_t stage_bytes) {
    while (written_ - landed_ > most_under_way_ || place_.stage - coming_.stage == kRingStages) {
      await_phase(shared_address(barriers_.full + coming_.slot()), coming_.parity());
      landed_ = barriers_.end[coming_.slot()];
      ++coming_.stage;
    }
    written_ += place_.fit(stage_bytes) + stage_bytes;
    while (written_ - freed_ > place_.num_bytes || place_.stage - oldest_.stage == kRingStages) {
      await_phase(shared_address(barriers_.empty + oldest_.slot()), oldest_.parity());
      freed_ = barriers_.end[oldest_.slot()];
      ++oldest_.stage;
    }
    barriers_.end[place_.slot()] = written_;
    return place_.offset;
  }

  /// Counts the bytes that will come for the stage taken last.
  __device__ uint32_t full() const { return shared_address(barriers_.full + place_.slot()); }
  __device__ void pass(uint32_t stage_bytes) { place_.pass(stage_bytes); }

 private:
  RingBarriers& barriers_;
  uint32_t most_under_way_;
  RingPlace place_;   // of the next stage
  RingPlace oldest_;  // not known to be free
  RingPlace coming_;  // not known to be there
  uint32_t written_ = 0;
  uint32_t freed_ = 0;
  uint32_t landed_ = 0;
};

}  // namespace msa::kernels
