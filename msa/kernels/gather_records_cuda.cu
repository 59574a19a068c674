// What limits it is the bus to the host's memory, of which some hundred kilobytes must be under way
// at a time: a megabyte is. Each warp looks up who was chosen for itself, without waiting for
// others. The bulk copy engine (cp.async.bulk) was measured and is no faster here. Quantised rows
// cross the bus as they are stored and become bfloat16 in registers.

#include "msa/kernels/bfloat16_pairs.cuh"
#include "msa/kernels/device_code.cuh"
#include "msa/kernels/gather_records.h"
#include "msa/kernels/route_batch.h"

namespace msa::kernels {
namespace {

constexpr int kBlocks = 64;
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpThreads;
constexpr int kLoads = 4;                        // of 16 bytes that a lane has under way
constexpr int kOutValues = 8;                    // of 16 bytes of bfloat16
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

/// Values of 16 stored bytes.
template <ContentType kType>
constexpr int kWordValues = kType == ContentType::kInt4   ? 32
                            : kType == ContentType::kInt8 ? 16
                                                          : 8;

/// 16 stored bytes on their way, and the scales of their values.
template <ContentType kType>
struct Word {
  uint4 bits;
  uint16_t scale[2];  // int8: of either half, as a head may end between them; int4: the first

  __device__ void load(const std::byte* row, const ContentLayout& layout, int word) {
    bits = __ldcg(reinterpret_cast<const uint4*>(row) + word);
    const auto* scales = reinterpret_cast<const uint16_t*>(row + layout.scale_offset);
    if constexpr (kType == ContentType::kInt8) {
      const auto head_dim = static_cast<uint32_t>(layout.group_values);
      const uint32_t first = static_cast<uint32_t>(word) * kWordValues<kType>;
      const auto last_head = static_cast<uint32_t>(layout.num_values) / head_dim - 1;
      scale[0] = __ldcg(scales + first / head_dim);
      scale[1] = __ldcg(scales + min((first + kOutValues) / head_dim, last_head));
    } else if constexpr (kType == ContentType::kInt4) {
      scale[0] = __ldcg(scales + word);
    }
  }

  /// The eight values from value 8 * i of the word on.
  __device__ uint4 widened(int i) const {
    if constexpr (kType == ContentType::kBFloat16) return bits;
    const uint32_t part[4] = {bits.x, bits.y, bits.z, bits.w};
    uint32_t pair[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float value[2];
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const int v = 2 * j + k;
        if constexpr (kType == ContentType::kInt8) {
          value[k] = static_cast<float>(static_cast<int8_t>(part[2 * i + v / 4] >> (v % 4 * 8)));
        } else {
          value[k] = static_cast<float>(static_cast<int32_t>(part[i] << (28 - 4 * v)) >> 28);
        }
      }
      const float step =
          __uint_as_float(static_cast<uint32_t>(scale[kType == ContentType::kInt8 ? i : 0]) << 16);
      pair[j] = narrow_pair(value[0] * step, value[1] * step);
    }
    return {pair[0], pair[1], pair[2], pair[3]};
  }
};

/// Every warp copies a row of K or V at a time; of quantised ones, which are shorter, two or four.
template <ContentType kType>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const GatherRecordsParams p, const ContentLayout layout) {
  constexpr int kOuts = kWordValues<kType> / kOutValues;  // of 16 bytes from 16 stored ones
  constexpr int kRows = kOuts;
  constexpr int kRowLoads = kLoads / kRows;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const Runs runs = find_runs(p, layout.row_bytes, lane);
  const auto first_row = static_cast<int32_t>(p.first_row);
  const int32_t num_rows = min(runs.num_rows, static_cast<int32_t>(p.capacity) - first_row);
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    *p.num_rows = first_row + num_rows;
    if (num_rows < runs.num_rows && p.overflow != nullptr) *p.overflow = 1;
  }
  const auto out_words = static_cast<int>(layout.num_values / kOutValues);
  const int row_words = (out_words + kOuts - 1) / kOuts;
  const int num_warps = static_cast<int>(gridDim.x) * kWarps;
  // K and V by turns
  for (int32_t i = warp * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
       i < num_rows * 2; i += num_warps * kRows) {
    const std::byte* from[kRows];
    uint4* to[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int32_t place = i + r * num_warps;
      const bool is_value = place % 2 != 0;
      from[r] = nullptr;
      if (place >= num_rows * 2) continue;
      from[r] =
          find_row(runs, place / 2, layout.row_bytes) + (is_value ? layout.row_bytes : int64_t{0});
      to[r] = reinterpret_cast<uint4*>(is_value ? p.value : p.key) +
              (p.first_row + place / 2) * out_words;
    }
    for (int first = lane; first < row_words; first += kRowLoads * kWarpThreads) {
      Word<kType> part[kRows][kRowLoads];
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        const int r = l / kRowLoads;
        const int word = first + l % kRowLoads * kWarpThreads;
        if (from[r] != nullptr && word < row_words) {
          part[r][l % kRowLoads].load(from[r], layout, word);
        }
      }
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        const int r = l / kRowLoads;
        const int word = first + l % kRowLoads * kWarpThreads;
        if (from[r] == nullptr || word >= row_words) continue;
#pragma unroll
        for (int o = 0; o < kOuts; ++o) {
          const int out = word * kOuts + o;
          if (out < out_words) to[r][out] = part[r][l % kRowLoads].widened(o);
        }
      }
    }
  }
}

__global__ void set_slots_kernel(const SlotChange* changes, int64_t count, int32_t* slot) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) store_slot(slot + changes[i].document, changes[i].slot);
}

auto* kernel_of(ContentType type) {
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
  auto* kernel = kernel_of(p.type);
  MSA_CHECK(kernel != nullptr, "gather_records: content is bf16, int8 or int4, not ",
            name_of(p.type));
  MSA_CHECK(p.type != ContentType::kInt8 || p.head_dim % kOutValues == 0,
            "gather_records: heads of int8 must be multiples of ", kOutValues, " values, got ",
            p.head_dim);
  const ContentLayout layout = content_layout(p.type, p.num_kv_heads, p.head_dim);
  kernel<<<kBlocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(p, layout);
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
