// What limits it is the bus to the host's memory, of which some hundred kilobytes must be under way
// at a time: a megabyte is. Each warp looks up who was chosen for itself, without waiting for
// others. The bulk copy engine (cp.async.bulk) was measured and is no faster here.

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/gather_records.h"
#include "msa/kernels/route_batch.h"

namespace msa::kernels {
namespace {

constexpr int kBlocks = 64;
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpThreads;
constexpr int kLoads = 4;  // of 16 bytes that a lane has under way
constexpr int kWordValues = 8;
constexpr int64_t kMostRows = int64_t{1} << 29;  // twice as many are counted in int32

__device__ int32_t load_slot(const int32_t* slot) {
  int32_t value = 0;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(slot) : "memory");
  return value;
}

__device__ void store_slot(int32_t* slot, int32_t value) {
  asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(slot), "r"(value) : "memory");
}

/// What was chosen, as runs of rows: each lane of a warp knows kRunsEach of them.
constexpr int kRunsEach = kMostRouted / kWarpThreads;
struct Runs {
  const uint4* source[kRunsEach];  // the layer's part of a record
  int32_t first[kRunsEach];        // row
  int32_t end[kRunsEach];
  int32_t num_rows;  // of all runs
};

__device__ Runs find_runs(const GatherRecordsParams& p, int lane) {
  Runs runs;
  int64_t document[kRunsEach];
#pragma unroll
  for (int r = 0; r < kRunsEach; ++r) {
    const int i = r * kWarpThreads + lane;
    document[r] = i < p.top_k ? p.selected[i].document : -1;
  }
  runs.num_rows = 0;
#pragma unroll
  for (int r = 0; r < kRunsEach; ++r) {
    int32_t count = 0;
    if (document[r] >= 0) {
      const int64_t first = p.first_chunk[document[r]];
      const int64_t next = p.first_chunk[document[r] + 1];
      const int32_t slot = p.slot == nullptr ? -1 : load_slot(p.slot + document[r]);
      const BFloat16* record = slot >= 0 ? p.cached + slot * p.slot_values
                                         : p.content + first * p.num_layers * 2 * p.key_dim;
      count = static_cast<int32_t>(next - first);
      runs.source[r] = reinterpret_cast<const uint4*>(record + p.layer * count * 2 * p.key_dim);
    }
    int32_t end = count;
    if (r * kWarpThreads < p.top_k) {
      for (int step = 1; step < kWarpThreads; step *= 2) {
        const int32_t before = __shfl_up_sync(kAllLanes, end, step);
        if (lane >= step) end += before;
      }
    }
    runs.end[r] = runs.num_rows + end;
    runs.first[r] = runs.end[r] - count;
    runs.num_rows += __shfl_sync(kAllLanes, end, kWarpThreads - 1);
  }
  __syncwarp();  // what one lane has seen of a slot holds for all
  return runs;
}

/// The source of a row of K; that of V follows it.
__device__ const uint4* find_row(const Runs& runs, int32_t row, int64_t row_words) {
  const uint4* mine = nullptr;
  bool is_mine = false;
#pragma unroll
  for (int r = 0; r < kRunsEach; ++r) {
    if (row < runs.first[r] || row >= runs.end[r]) continue;
    is_mine = true;
    mine = runs.source[r] + (row - runs.first[r]) * int64_t{2} * row_words;
  }
  const int owner = __ffs(static_cast<int>(__ballot_sync(kAllLanes, is_mine))) - 1;
  const auto address = static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(mine));
  return reinterpret_cast<const uint4*>(
      static_cast<uintptr_t>(__shfl_sync(kAllLanes, address, owner)));
}

/// Every warp copies a row of K or V at a time.
__global__ void __launch_bounds__(kThreads) gather_kernel(const GatherRecordsParams p) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const Runs runs = find_runs(p, lane);
  const auto first_row = static_cast<int32_t>(p.first_row);
  const int32_t num_rows = min(runs.num_rows, static_cast<int32_t>(p.capacity) - first_row);
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    *p.num_rows = first_row + num_rows;
    if (num_rows < runs.num_rows && p.overflow != nullptr) *p.overflow = 1;
  }
  const int64_t row_words = p.key_dim / kWordValues;
  // K and V by turns
  for (int32_t i = warp * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
       i < num_rows * 2; i += static_cast<int>(gridDim.x) * kWarps) {
    const int32_t row = i / 2;
    const bool is_value = i % 2 != 0;
    const uint4* from = find_row(runs, row, row_words) + (is_value ? row_words : 0);
    auto* to =
        reinterpret_cast<uint4*>(is_value ? p.value : p.key) + (p.first_row + row) * row_words;
    for (int64_t first = lane; first < row_words; first += kLoads * kWarpThreads) {
      uint4 part[kLoads];
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        const int64_t word = first + l * kWarpThreads;
        if (word < row_words) part[l] = __ldcg(from + word);
      }
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        const int64_t word = first + l * kWarpThreads;
        if (word < row_words) to[word] = part[l];
      }
    }
  }
}

__global__ void set_slots_kernel(const SlotChange* changes, int64_t count, int32_t* slot) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) store_slot(slot + changes[i].document, changes[i].slot);
}

}  // namespace

void gather_records_cuda(const GatherRecordsParams& p, CudaStream stream) {
  MSA_CHECK(p.top_k >= 0 && p.top_k <= kMostRouted, "gather_records: top_k must be in [0, ",
            kMostRouted, "], got ", p.top_k);
  MSA_CHECK(p.key_dim > 0 && p.key_dim % 8 == 0,
            "gather_records: a key must be whole 16 bytes, got ", p.key_dim, " values");
  MSA_CHECK(p.layer >= 0 && p.layer < p.num_layers, "gather_records: there is no layer ", p.layer);
  MSA_CHECK(p.first_row >= 0 && p.first_row <= p.capacity && p.capacity <= kMostRows,
            "gather_records: row ", p.first_row, " of ", p.capacity);
  gather_kernel<<<kBlocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(p);
  expect_launched("gather_records");
}

void set_slots_cuda(const SlotChange* changes, int64_t count, int32_t* slot, CudaStream stream) {
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  set_slots_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(changes, count,
                                                                               slot);
  expect_launched("set_slots");
}

}  // namespace msa::kernels
