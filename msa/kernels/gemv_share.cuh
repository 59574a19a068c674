#pragma once
// What a block of gemv computes, and how its weights stream through a ring in shared memory.

#include "msa/kernels/bulk_copy.cuh"
#include "msa/kernels/byte_barrier.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/device_gemv.h"
#include "msa/kernels/gemv_lines.cuh"
#include "msa/kernels/quantized_lines.cuh"

namespace msa::kernels {

constexpr int kBatchRows = 128;  // rows whose sums are finished together
constexpr int kMostStages = 16;
constexpr int64_t kFetchedBytes = 48 << 10;  // into the L2 cache, behind a full ring

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
constexpr bool kHasRing = true;
#else
constexpr bool kHasRing = false;  // weights go straight to registers
#endif

template <WeightType kType_, bool kIsGated_, int kThreads_, int kTeams_, int kPieces_, int kRows_>
struct GemvShape {
  static constexpr WeightType kType = kType_;
  static constexpr bool kIsQuantized = kType != WeightType::kBFloat16;
  static constexpr bool kIsGated = kIsGated_;
  static constexpr int kThreads = kThreads_;          // that multiply
  static constexpr int kTeams = kTeams_;              // of them, each with lines of its own
  static constexpr int kPieces = kPieces_;            // of a row, a thread
  static constexpr int kRows = kRows_;                // of y, a stage of the ring
  static constexpr int kParts = kIsGated ? 2 : 1;     // rows of W for one of y
  static constexpr int kLines = kRows * kParts;       // rows of W, a stage
  static constexpr int kTeamLines = kLines / kTeams;  // of a stage
  static constexpr int kTeamThreads = kThreads / kTeams;
  static constexpr int kWarps = kThreads / kWarpThreads;  // that multiply
  static constexpr int kTeamWarps = kWarps / kTeams;
  static constexpr int kColumns = kIsQuantized ? kQuantizedColumns : kEight;  // of a piece
  static constexpr int kBlockThreads = kThreads + kWarpThreads;  // and a warp that copies
  static constexpr int kBlocks = kThreads <= 320 ? 2 : 1;        // on a multiprocessor
  static_assert(kBatchRows % kRows == 0 && kBatchRows <= kThreads);
  static_assert(kLines % kTeams == 0 && kTeamThreads % kWarpThreads == 0);
};

template <typename Shape>
struct GemvShared {
  float partial[Shape::kParts * kBatchRows][Shape::kTeamWarps];
  uint64_t full[kMostStages];
  uint64_t empty[kMostStages];
  uint64_t best[Shape::kWarps];
  float squares[Shape::kWarps];
};

/// The rows of y that a block computes, and where their weights stand.
struct Share {
  int64_t first;
  int64_t num_rows;
  int64_t row_units;  // of 16 bytes
  int row_pieces;     // of a row, of kColumns
  int scale_offset;   // bytes
  const uint4* weight;

  template <typename Shape>
  static __device__ Share of(const DeviceGemvParams& p) {
    const int64_t first = p.num_rows * blockIdx.x / gridDim.x;
    const ContentLayout layout = weight_layout(Shape::kType, p.num_columns);
    return {first,
            p.num_rows * (blockIdx.x + 1) / gridDim.x - first,
            layout.row_bytes / static_cast<int64_t>(sizeof(uint4)),
            static_cast<int>(p.num_columns) / Shape::kColumns,
            static_cast<int>(layout.scale_offset),
            static_cast<const uint4*>(p.weight)};
  }
  /// Row `row` of the share; part 1 is what a gate lets through.
  __device__ const uint4* line(const DeviceGemvParams& p, int64_t row, int part) const {
    return weight + (part * p.num_rows + first + row) * row_units;
  }
};

/// The threads that multiply meet; the copying warp does not.
template <typename Shape>
__device__ void meet() {
  asm volatile("bar.sync 1, %0;" ::"n"(Shape::kThreads) : "memory");
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
/// One thread: streams the share through the ring.
template <typename Shape>
__device__ void copy_share(const DeviceGemvParams& p, const Share& share, int num_stages,
                           uint4* ring, GemvShared<Shape>& shared) {
  const auto row_bytes = static_cast<uint32_t>(share.row_units * sizeof(uint4));
  const int64_t part_units = Shape::kRows * share.row_units;
  const uint64_t policy = read_once_policy();
  int slot = 0;
  uint32_t parity = 1;
  for (int64_t row = 0; row < share.num_rows; row += Shape::kRows) {
    await_phase(shared_address(shared.empty + slot), parity);
    const auto num_bytes =
        static_cast<uint32_t>(min(int64_t{Shape::kRows}, share.num_rows - row)) * row_bytes;
    const uint32_t full = shared_address(shared.full + slot);
    expect_bytes(full, Shape::kParts * num_bytes);
#pragma unroll
    for (int part = 0; part < Shape::kParts; ++part) {
      copy_bulk(shared_address(ring + (slot * Shape::kParts + part) * part_units),
                share.line(p, row, part), num_bytes, full, policy);
    }
    if (++slot < num_stages) continue;
    slot = 0;
    parity ^= 1;
    if (row >= num_stages * Shape::kRows) continue;
    const int64_t next = row + Shape::kRows;
    const int64_t num_fetched =
        min(share.num_rows - next, kFetchedBytes / (Shape::kParts * row_bytes));
    if (num_fetched <= 0) continue;
    for (int part = 0; part < Shape::kParts; ++part) {
      fetch_to_l2(share.line(p, next, part), static_cast<uint32_t>(num_fetched) * row_bytes);
    }
  }
  // All is under way: the next kernel's weights may follow.
  await_launched_before();
  release_launched_after();
}
#endif

}  // namespace msa::kernels
