#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/gather_records.h"
#include "msa/kernels/route_batch.h"

namespace msa::kernels {
namespace {

constexpr uint16_t kUntouched = 0xabcd;

struct HostFree {
  void operator()(void* memory) const { cudaFreeHost(memory); }
};

/// A memory on the host, in pinned memory and on the GPU, and where its documents' slots are.
class Memory {
 public:
  Memory(std::vector<int64_t> num_chunks, int64_t num_layers, int64_t key_dim, uint32_t seed)
      : num_layers(num_layers), key_dim(key_dim) {
    for (const int64_t count : num_chunks) {
      first_chunk.push_back(first_chunk.back() + count);
      slot_values = std::max(slot_values, count * num_layers * 2 * key_dim);
    }
    std::mt19937 random(seed);
    content.resize(static_cast<size_t>(first_chunk.back() * num_layers * 2 * key_dim));
    for (BFloat16& value : content) value.bits = static_cast<uint16_t>(random() % kUntouched);
    slot.assign(num_chunks.size(), -1);
    on_gpu = to_device(content);
    device_first_chunk = to_device(first_chunk);
    void* memory = nullptr;
    const size_t bytes = content.size() * sizeof(BFloat16);
    EXPECT_EQ(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault), cudaSuccess);
    pinned.reset(static_cast<BFloat16*>(memory));
    std::memcpy(pinned.get(), content.data(), bytes);
  }

  /// Gives every third document a slot, and its record there other values than elsewhere.
  void cache_every_third() {
    const int64_t num_slots = (num_documents() + 2) / 3;
    std::vector<BFloat16> cached(static_cast<size_t>(num_slots * slot_values));
    std::vector<SlotChange> changes;
    for (int64_t n = 0; n < num_documents(); n += 3) {
      slot[n] = static_cast<int32_t>(num_slots - 1 - n / 3);
      changes.push_back({.document = static_cast<int32_t>(n), .slot = slot[n]});
      for (int64_t i = record(n); i < record(n + 1); ++i) {
        content[i].bits ^= 1;
        cached[slot[n] * slot_values + i - record(n)] = content[i];
      }
    }
    device_cached = to_device(cached);
    device_slot = to_device(std::vector<int32_t>(slot.size(), -1));
    const auto device_changes = to_device(changes);
    set_slots_cuda(device_changes.get(), static_cast<int64_t>(changes.size()), device_slot.get(),
                   nullptr);
    EXPECT_EQ(to_host(device_slot, slot.size()), slot);
  }

  int64_t num_documents() const { return static_cast<int64_t>(slot.size()); }
  int64_t record(int64_t document) const {
    return first_chunk[document] * num_layers * 2 * key_dim;
  }

  int64_t num_layers;
  int64_t key_dim;
  int64_t slot_values = 8;
  std::vector<int64_t> first_chunk{0};
  std::vector<BFloat16> content;  // where a document is gathered from
  std::vector<int32_t> slot;
  DeviceArray<BFloat16> on_gpu;
  DeviceArray<BFloat16> device_cached;
  DeviceArray<int32_t> device_slot;
  DeviceArray<int64_t> device_first_chunk;
  std::unique_ptr<BFloat16, HostFree> pinned;
};

struct Gathered {
  std::vector<uint16_t> key;
  std::vector<uint16_t> value;
  int32_t num_rows = -1;
  int32_t overflow = 0;
  bool operator==(const Gathered&) const = default;
};

std::vector<ScoredDocument> documents(const std::vector<int64_t>& places) {
  std::vector<ScoredDocument> selected;
  for (const int64_t place : places) selected.push_back({.document = place, .score = 1});
  return selected;
}

Gathered wanted(const Memory& memory, const std::vector<int64_t>& places, int64_t layer,
                int64_t first_row, int64_t capacity) {
  const int64_t width = memory.key_dim;
  Gathered result{.key = std::vector<uint16_t>(capacity * width, kUntouched), .value = {}};
  result.value = result.key;
  int64_t row = first_row;
  for (const int64_t n : places) {
    if (n < 0) continue;
    const int64_t count = memory.first_chunk[n + 1] - memory.first_chunk[n];
    for (int64_t c = 0; c < count; ++c) {
      if (row == capacity) {
        result.overflow = 1;
        break;
      }
      const auto from = memory.content.begin() + memory.record(n) + (layer * count + c) * 2 * width;
      for (int64_t i = 0; i < width; ++i) {
        result.key[row * width + i] = from[i].bits;
        result.value[row * width + i] = from[width + i].bits;
      }
      ++row;
    }
  }
  result.num_rows = static_cast<int32_t>(row);
  return result;
}

Gathered gather(const Memory& memory, const BFloat16* content, const std::vector<int64_t>& places,
                int64_t layer, int64_t first_row, int64_t capacity) {
  const auto size = static_cast<size_t>(capacity * memory.key_dim);
  const auto selected = to_device(documents(places));
  const auto key = to_device(std::vector<uint16_t>(size, kUntouched));
  const auto value = to_device(std::vector<uint16_t>(size, kUntouched));
  const auto counts = to_device(std::vector<int32_t>{-1, 0});
  gather_records_cuda({.selected = selected.get(),
                       .top_k = static_cast<int64_t>(places.size()),
                       .first_chunk = memory.device_first_chunk.get(),
                       .content = content,
                       .slot = memory.device_slot.get(),
                       .cached = memory.device_cached.get(),
                       .slot_values = memory.slot_values,
                       .layer = layer,
                       .num_layers = memory.num_layers,
                       .key_dim = memory.key_dim,
                       .key = reinterpret_cast<BFloat16*>(key.get()),
                       .value = reinterpret_cast<BFloat16*>(value.get()),
                       .first_row = first_row,
                       .capacity = capacity,
                       .num_rows = counts.get(),
                       .overflow = counts.get() + 1},
                      nullptr);
  const auto numbers = to_host(counts, 2);
  return {.key = to_host(key, size),
          .value = to_host(value, size),
          .num_rows = numbers[0],
          .overflow = numbers[1]};
}

struct Shape {
  int64_t num_layers;
  int64_t key_dim;
  int64_t most_chunks;
  size_t top_k;
};

std::vector<int64_t> random_counts(int64_t most, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int64_t> counts(100);
  for (int64_t& count : counts) count = static_cast<int64_t>(random() % (most + 1));
  return counts;
}

TEST(GatherRecordsCuda, CopiesTheChosenRecordsInOrderFromEveryPlace) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const Shape& shape : {Shape{3, 1024, 16, 16}, Shape{2, 16, 3, 5}, Shape{1, 8, 40, 64},
                             Shape{2, 1032, 5, 16}, Shape{18, 256, 2, 1}}) {
    Memory memory(random_counts(shape.most_chunks, 7), shape.num_layers, shape.key_dim, 8);
    std::mt19937 random(9);
    for (const bool is_cached : {false, true}) {
      if (is_cached) memory.cache_every_third();
      for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
        std::vector<int64_t> places(shape.top_k);
        for (size_t i = 0; i < places.size(); ++i) {
          places[i] = random() % 8 == 0 ? -1 : static_cast<int64_t>(random() % 100);
        }
        const int64_t first_row = layer * 5;
        const int64_t capacity = first_row + shape.most_chunks * 64 + 3;
        const Gathered expected = wanted(memory, places, layer, first_row, capacity);
        ASSERT_EQ(expected.overflow, 0);
        EXPECT_TRUE(gather(memory, memory.on_gpu.get(), places, layer, first_row, capacity) ==
                    expected)
            << "F = " << shape.key_dim << ", layer " << layer << ", cached " << is_cached;
        EXPECT_TRUE(gather(memory, memory.pinned.get(), places, layer, first_row, capacity) ==
                    expected)
            << "pinned, F = " << shape.key_dim << ", layer " << layer << ", cached " << is_cached;
      }
    }
  }
}

TEST(GatherRecordsCuda, WritesNothingBehindTheCapacityAndSaysSo) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const Memory memory({4, 3, 2}, 2, 64, 3);
  for (const int64_t capacity : {2, 3, 7, 9, 10, 11}) {
    const Gathered expected = wanted(memory, {2, 0, 1}, 1, 2, capacity);
    EXPECT_EQ(expected.overflow, capacity < 11 ? 1 : 0);
    EXPECT_TRUE(gather(memory, memory.on_gpu.get(), {2, 0, 1}, 1, 2, capacity) == expected)
        << capacity << " rows";
  }
}

TEST(GatherRecordsCuda, GathersNothingFromNobody) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const Memory memory({4, 0, 2}, 1, 64, 3);
  for (const std::vector<int64_t>& places : {std::vector<int64_t>{}, {-1, -1}, {1}}) {
    EXPECT_TRUE(gather(memory, memory.on_gpu.get(), places, 0, 3, 5) ==
                wanted(memory, places, 0, 3, 5));
  }
}

TEST(GatherRecordsCuda, RefusesShapesThatItCannotCopy) {
  GatherRecordsParams params{.top_k = 1, .num_layers = 1, .key_dim = 64, .capacity = 4};
  const auto expect_refused = [](const GatherRecordsParams& wrong) {
    EXPECT_THROW(gather_records_cuda(wrong, nullptr), Error);
  };
  auto wrong = params;
  wrong.top_k = kMostRouted + 1;
  expect_refused(wrong);
  wrong = params;
  wrong.key_dim = 12;
  expect_refused(wrong);
  wrong = params;
  wrong.layer = 1;
  expect_refused(wrong);
  wrong = params;
  wrong.first_row = 5;
  expect_refused(wrong);
}

}  // namespace
}  // namespace msa::kernels
