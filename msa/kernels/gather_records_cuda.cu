// What limits it is the bus to the host's memory, of which some hundred kilobytes must be under way
// at a time: a megabyte is. Each warp looks up who was chosen for itself, without waiting for
// others. Copies into shared memory (cp.async, cp.async.bulk) were measured: no faster where rows
// begin with a line, slower where they do not. Quantised rows cross the bus as they are stored and
// become bfloat16 on their way through shared memory.

#include <algorithm>

#include "msa/kernels/bfloat16_pairs.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/gather_records.h"
#include "msa/kernels/route_batch.h"

namespace msa::kernels {
namespace {

constexpr int kBlocks = 64;
constexpr int kThreads = 256;
constexpr int kWordBytes = 16;  // of a load
constexpr int kLineWords = 8;
constexpr int kOutValues = 8;  // of 16 bytes of bfloat16
constexpr int kMostShared = 48 << 10;
constexpr int64_t kMostRows = int64_t{1} << 29;  // twice as many are counted in int32

/// Loads that a lane has under way: for rows of 1,024 values all of a chunk.
template <ContentType kType>
constexpr int kLoadsEach = kType == ContentType::kInt4   ? 3
                           : kType == ContentType::kInt8 ? 5
                                                         : 8;

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
  const std::byte* source[kRunsEach];  // the layer's part of a record
  int32_t first[kRunsEach];            // row
  int32_t end[kRunsEach];
  int32_t num_rows;  // of all runs
};

__device__ Runs find_runs(const GatherRecordsParams& p, int64_t row_bytes, int lane) {
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
      const std::byte* record = slot >= 0 ? p.cached + slot * p.slot_bytes
                                          : p.content + first * p.num_layers * 2 * row_bytes;
      count = static_cast<int32_t>(next - first);
      runs.source[r] = record + p.layer * count * 2 * row_bytes;
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
__device__ const std::byte* find_row(const Runs& runs, int32_t row, int64_t row_bytes) {
  const std::byte* mine = nullptr;
  bool is_mine = false;
#pragma unroll
  for (int r = 0; r < kRunsEach; ++r) {
    if (row < runs.first[r] || row >= runs.end[r]) continue;
    is_mine = true;
    mine = runs.source[r] + (row - runs.first[r]) * int64_t{2} * row_bytes;
  }
  const int owner = __ffs(static_cast<int>(__ballot_sync(kAllLanes, is_mine))) - 1;
  const auto address = static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(mine));
  return reinterpret_cast<const std::byte*>(
      static_cast<uintptr_t>(__shfl_sync(kAllLanes, address, owner)));
}

/// Eight values of a row in shared memory, from value 8 * i on.
template <ContentType kType>
__device__ uint4 widened(const std::byte* row, const ContentLayout& layout, int i) {
  const auto* scales = reinterpret_cast<const uint16_t*>(row + layout.scale_offset);
  const auto step_of = [&](int64_t group) {
    return __uint_as_float(static_cast<uint32_t>(scales[group]) << 16);
  };
  uint32_t pair[kOutValues / 2];
  if constexpr (kType == ContentType::kInt8) {
    const uint2 bits = reinterpret_cast<const uint2*>(row)[i];
    const float step =
        step_of(static_cast<uint32_t>(i * kOutValues) / static_cast<uint32_t>(layout.group_values));
#pragma unroll
    for (int j = 0; j < kOutValues / 2; ++j) {
      const uint32_t two = (j < 2 ? bits.x : bits.y) >> (j % 2 * 16);
      pair[j] = narrow_pair(static_cast<float>(static_cast<int8_t>(two)) * step,
                            static_cast<float>(static_cast<int8_t>(two >> 8)) * step);
    }
  } else {
    const uint32_t bits = reinterpret_cast<const uint32_t*>(row)[i];
    const float step = step_of(i / (kInt4Group / kOutValues));
#pragma unroll
    for (int j = 0; j < kOutValues / 2; ++j) {
      pair[j] =
          narrow_pair(static_cast<float>(static_cast<int32_t>(bits << (28 - 8 * j)) >> 28) * step,
                      static_cast<float>(static_cast<int32_t>(bits << (24 - 8 * j)) >> 28) * step);
    }
  }
  return {pair[0], pair[1], pair[2], pair[3]};
}

/// A warp reads K and V of a chunk: they stand side by side. Lanes begin where a line of memory
/// does, so that every line crosses the bus once and as a whole.
template <ContentType kType>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const GatherRecordsParams p, const ContentLayout layout, const int room_bytes) {
  constexpr int kLoads = kLoadsEach<kType>;
  extern __shared__ __align__(16) std::byte shared[];
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int num_warps = static_cast<int>(blockDim.x) / kWarpThreads;
  auto* const room = shared + warp * room_bytes;
  await_launched_before();
  release_launched_after();
  const Runs runs = find_runs(p, layout.row_bytes, lane);
  const auto first_row = static_cast<int32_t>(p.first_row);
  const int32_t num_rows = min(runs.num_rows, static_cast<int32_t>(p.capacity) - first_row);
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    *p.num_rows = first_row + num_rows;
    if (num_rows < runs.num_rows && p.overflow != nullptr) *p.overflow = 1;
  }
  const auto out_words = static_cast<int>(layout.num_values / kOutValues);
  const auto pair_words = static_cast<int>(2 * layout.row_bytes / kWordBytes);
  for (int32_t row = warp * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
       row < num_rows; row += num_warps * static_cast<int>(gridDim.x)) {
    const std::byte* const from = find_row(runs, row, layout.row_bytes);
    uint4* const key = reinterpret_cast<uint4*>(p.key) + (p.first_row + row) * out_words;
    uint4* const value = reinterpret_cast<uint4*>(p.value) + (p.first_row + row) * out_words;
    const auto ahead =
        static_cast<int>(reinterpret_cast<uintptr_t>(from) / kWordBytes % kLineWords);
    for (int first = lane - ahead; first < pair_words; first += kLoads * kWarpThreads) {
      uint4 part[kLoads];
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        const int word = first + l * kWarpThreads;
        if (word < 0 || word >= pair_words) continue;
        part[l] = __ldcg(reinterpret_cast<const uint4*>(from) + word);
      }
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        const int word = first + l * kWarpThreads;
        if (word < 0 || word >= pair_words) continue;
        if constexpr (kType == ContentType::kBFloat16) {
          (word < out_words ? key[word] : value[word - out_words]) = part[l];
        } else {
          reinterpret_cast<uint4*>(room)[word] = part[l];
        }
      }
    }
    if constexpr (kType == ContentType::kBFloat16) continue;
    __syncwarp();
    for (int i = lane; i < out_words; i += kWarpThreads) {
      key[i] = widened<kType>(room, layout, i);
      value[i] = widened<kType>(room + layout.row_bytes, layout, i);
    }
    __syncwarp();  // the room is written again
  }
}

__global__ void set_slots_kernel(const SlotChange* changes, int64_t count, int32_t* slot) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) store_slot(slot + changes[i].document, changes[i].slot);
}

using GatherKernel = void (*)(GatherRecordsParams, ContentLayout, int);

GatherKernel kernel_of(ContentType type) {
  return type == ContentType::kBFloat16 ? gather_kernel<ContentType::kBFloat16>
         : type == ContentType::kInt8   ? gather_kernel<ContentType::kInt8>
         : type == ContentType::kInt4   ? gather_kernel<ContentType::kInt4>
                                        : nullptr;
}

}  // namespace

void gather_records_cuda(const GatherRecordsParams& p, CudaStream stream) {
  MSA_CHECK(p.top_k >= 0 && p.top_k <= kMostRouted, "gather_records: top_k must be in [0, ",
            kMostRouted, "], got ", p.top_k);
  MSA_CHECK(p.num_kv_heads > 0 && p.head_dim > 0 && p.num_kv_heads * p.head_dim % kOutValues == 0,
            "gather_records: a key must be whole 16 bytes, got ", p.num_kv_heads, " heads of ",
            p.head_dim, " values");
  MSA_CHECK(p.layer >= 0 && p.layer < p.num_layers, "gather_records: there is no layer ", p.layer);
  MSA_CHECK(p.first_row >= 0 && p.first_row <= p.capacity && p.capacity <= kMostRows,
            "gather_records: row ", p.first_row, " of ", p.capacity);
  const GatherKernel kernel = kernel_of(p.type);
  MSA_CHECK(kernel != nullptr, "gather_records: content is bf16, int8 or int4, not ",
            name_of(p.type));
  MSA_CHECK(p.type != ContentType::kInt8 || p.head_dim % kOutValues == 0,
            "gather_records: heads of int8 must be multiples of ", kOutValues, " values, got ",
            p.head_dim);
  const ContentLayout layout = content_layout(p.type, p.num_kv_heads, p.head_dim);
  const int64_t room_bytes = is_quantized(p.type) ? 2 * layout.row_bytes : 0;
  MSA_CHECK(room_bytes <= kMostShared, "gather_records: K and V of a chunk take ", room_bytes,
            " bytes, at most ", kMostShared, " can be widened");
  const int64_t num_warps =
      std::min<int64_t>(kThreads / kWarpThreads, kMostShared / std::max<int64_t>(room_bytes, 1));
  launch_dependent(kernel, kBlocks, static_cast<unsigned>(num_warps * kWarpThreads),
                   static_cast<size_t>(num_warps * room_bytes), static_cast<cudaStream_t>(stream),
                   p, layout, static_cast<int>(room_bytes));
}

void set_slots_cuda(const SlotChange* changes, int64_t count, int32_t* slot, CudaStream stream) {
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  set_slots_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(changes, count,
                                                                               slot);
  expect_launched("set_slots");
}

}  // namespace msa::kernels
