#pragma once
// Hopper's own instructions (sm_90a): tiles copied into shared memory by the copy engine, and what
// orders products by groups of four warps.

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "msa/kernels/byte_barrier.cuh"

namespace msa::kernels {

constexpr int kGroupThreads = 128;  // four warps that multiply together

/// Bytes of a row of a tile. Their 16-byte parts stand permuted by the row's place among eight, as
/// CU_TENSOR_MAP_SWIZZLE_128B has it, so that a tile begins at a multiple of kTileAlignment.
constexpr int kTileRowBytes = 128;
constexpr int kTileAlignment = 1024;
constexpr int kProductBytes = 32;  // of a row, multiplied by one instruction

/// Before a block ends to which others may have arrived, or that has arrived at others: all that
/// was done before is done. All threads of the cluster's blocks meet.
__device__ inline void leave_cluster() {
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;" ::
          : "memory");
}

/// The same place in the shared memory of block `rank` of the cluster.
__device__ inline uint32_t address_in_block(uint32_t address, uint32_t rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}

/// All threads of the cluster's blocks meet. Orders no memory but what publish_barriers does.
__device__ inline void meet_in_cluster() {
  asm volatile(
      "barrier.cluster.arrive.relaxed;\n"
      "barrier.cluster.wait;" ::
          : "memory");
}

/// Arrives at a barrier that address_in_block has found. Orders nothing that threads have written
/// for other blocks: a release for the whole cluster would wait for all of the GPU's memory.
__device__ inline void arrive_in_cluster(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// Starts copying the box of `map` that begins `byte` into rows from `row` on to the same place of
/// all blocks of the cluster in `blocks`, bit by rank, and to their barriers. Outside are zeros.
__device__ inline void copy_tile(uint32_t to, const CUtensorMap& map, int byte, int row,
                                 uint32_t barrier, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(&map), "r"(byte), "r"(row), "r"(barrier), "h"(blocks)
      : "memory");
}

/// The same, and how the L2 cache treats what is read.
__device__ inline void copy_tile(uint32_t to, const CUtensorMap& map, int byte, int row,
                                 uint32_t barrier, uint16_t blocks, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(to),
      "l"(&map), "r"(byte), "r"(row), "r"(barrier), "h"(blocks), "l"(policy)
      : "memory");
}

/// The same to this block alone, which may be of no cluster.
__device__ inline void copy_tile(uint32_t to, const CUtensorMap& map, int byte, int row,
                                 uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(&map), "r"(byte), "r"(row), "r"(barrier)
      : "memory");
}

/// The same, and how the L2 cache treats what is read.
__device__ inline void copy_tile_once(uint32_t to, const CUtensorMap& map, int byte, int row,
                                      uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(&map), "r"(byte), "r"(row), "r"(barrier), "l"(policy)
      : "memory");
}

/// How the tensor cores find a tile, from a multiple of 8 rows and of kProductBytes on.
__device__ inline uint64_t tile_descriptor(uint32_t address) {
  constexpr uint64_t kEightRows = 8 * kTileRowBytes / 16;
  constexpr uint64_t kSwizzle128 = 1;
  return (kSwizzle128 << 62) | (kEightRows << 32) | (uint64_t{1} << 16) | (address / 16 & 0x3fffU);
}

/// What a descriptor grows by, `num_bytes` further.
__device__ constexpr uint64_t descriptor_step(int num_bytes) {
  return static_cast<uint64_t>(num_bytes / 16);
}

/// Before the first product of a group, and behind any other use of its sums.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Until at most the last kLeft committed groups are under way.
template <int kLeft>
__device__ void await_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

/// Behind await_products: no use of the sums is moved before it.
template <int kSums>
__device__ void hold(float (&sum)[kSums]) {
#pragma unroll
  for (int i = 0; i < kSums; ++i) asm volatile("" : "+f"(sum[i])::"memory");
}
template <int kSums>
__device__ void hold(int32_t (&sum)[kSums]) {
#pragma unroll
  for (int i = 0; i < kSums; ++i) asm volatile("" : "+r"(sum[i])::"memory");
}

/// The caller's group of warps may use `kRegisters` a thread; more, or fewer, than at launch.
template <int kRegisters>
__device__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ void leave_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace msa::kernels
