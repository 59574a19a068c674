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

struct Heads {
  int64_t num;
  int64_t dim;
  int64_t width() const { return num * dim; }
};

/// A memory on the host, in pinned memory and on the GPU, and where its documents' slots are.
class Memory {
 public:
  Memory(std::vector<int64_t> num_chunks, int64_t num_layers, Heads heads, uint32_t seed,
         ContentType type = ContentType::kBFloat16)
      : num_layers(num_layers),
        heads(heads),
        type(type),
        layout(content_layout(type, heads.num, heads.dim)) {
    for (const int64_t count : num_chunks) {
      first_chunk.push_back(first_chunk.back() + count);
      slot_bytes = std::max(slot_bytes, count * num_layers * 2 * layout.row_bytes);
    }
    std::mt19937 random(seed);
    content.resize(static_cast<size_t>(first_chunk.back() * num_layers * 2 * layout.row_bytes));
    for (std::byte& byte : content) byte = static_cast<std::byte>(random());
    for (size_t row = 0; row < content.size(); row += layout.row_bytes) make_finite(row, random);
    slot.assign(num_chunks.size(), -1);
    on_gpu = to_device(content);
    device_first_chunk = to_device(first_chunk);
    void* memory = nullptr;
    EXPECT_EQ(cudaHostAlloc(&memory, content.size(), cudaHostAllocDefault), cudaSuccess);
    pinned.reset(static_cast<std::byte*>(memory));
    std::memcpy(pinned.get(), content.data(), content.size());
  }

  /// Gives every third document a slot, and its record there other values than elsewhere.
  void cache_every_third() {
    const int64_t num_slots = (num_documents() + 2) / 3;
    std::vector<std::byte> cached(static_cast<size_t>(num_slots * slot_bytes));
    std::vector<SlotChange> changes;
    for (int64_t n = 0; n < num_documents(); n += 3) {
      slot[n] = static_cast<int32_t>(num_slots - 1 - n / 3);
      changes.push_back({.document = static_cast<int32_t>(n), .slot = slot[n]});
      for (int64_t i = record(n); i < record(n + 1); ++i) {
        if (i % 2 == 0) content[i] ^= std::byte{1};  // the lower byte of a bfloat16
        cached[slot[n] * slot_bytes + i - record(n)] = content[i];
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

  /// Byte at which a document's record begins.
  int64_t record(int64_t document) const {
    return first_chunk[document] * num_layers * 2 * layout.row_bytes;
  }

  /// A value of a row as bfloat16; integer times scale in float64.
  uint16_t value_of(int64_t row, int64_t v) const {
    if (type == ContentType::kBFloat16) return bits_at(row + 2 * v);
    double integer = static_cast<int8_t>(content[row + v]);
    if (type == ContentType::kInt4) {
      const int half = std::to_integer<int>(content[row + v / 2]) >> (v % 2 * 4) & 15;
      integer = half < 8 ? half : half - 16;
    }
    const int64_t scale = row + layout.scale_offset + 2 * (v / layout.group_values);
    return to_bfloat16(static_cast<float>(integer * to_float(BFloat16{bits_at(scale)}))).bits;
  }

  int64_t num_layers;
  Heads heads;
  ContentType type;
  ContentLayout layout;
  int64_t slot_bytes = 16;
  std::vector<int64_t> first_chunk{0};
  std::vector<std::byte> content;  // where a document is gathered from
  std::vector<int32_t> slot;
  DeviceArray<std::byte> on_gpu;
  DeviceArray<std::byte> device_cached;
  DeviceArray<int32_t> device_slot;
  DeviceArray<int64_t> device_first_chunk;
  std::unique_ptr<std::byte, HostFree> pinned;

 private:
  uint16_t bits_at(int64_t byte) const {
    uint16_t bits = 0;
    std::memcpy(&bits, content.data() + byte, sizeof bits);
    return bits;
  }

  /// Numbers of either sign from 2^-20 to 2^20.
  void make_finite(size_t row, std::mt19937& random) {
    const bool has_scales = layout.group_values > 0;
    const int64_t first = has_scales ? layout.scale_offset : 0;
    const int64_t count = has_scales ? layout.num_groups() : layout.num_values;
    for (int64_t i = 0; i < count; ++i) {
      const auto bits = static_cast<uint16_t>((random() & 0x807fU) | (107 + random() % 40) << 7);
      std::memcpy(content.data() + row + first + 2 * i, &bits, sizeof bits);
    }
  }
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
  const int64_t width = memory.heads.width();
  const int64_t row_bytes = memory.layout.row_bytes;
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
      const int64_t from = memory.record(n) + (layer * count + c) * 2 * row_bytes;
      for (int64_t i = 0; i < width; ++i) {
        result.key[row * width + i] = memory.value_of(from, i);
        result.value[row * width + i] = memory.value_of(from + row_bytes, i);
      }
      ++row;
    }
  }
  result.num_rows = static_cast<int32_t>(row);
  return result;
}

Gathered gather(const Memory& memory, const std::byte* content, const std::vector<int64_t>& places,
                int64_t layer, int64_t first_row, int64_t capacity) {
  const auto size = static_cast<size_t>(capacity * memory.heads.width());
  const auto selected = to_device(documents(places));
  const auto key = to_device(std::vector<uint16_t>(size, kUntouched));
  const auto value = to_device(std::vector<uint16_t>(size, kUntouched));
  const auto counts = to_device(std::vector<int32_t>{-1, 0});
  gather_records_cuda({.selected = selected.get(),
                       .top_k = static_cast<int64_t>(places.size()),
                       .first_chunk = memory.device_first_chunk.get(),
                       .type = memory.type,
                       .content = content,
                       .slot = memory.device_slot.get(),
                       .cached = memory.device_cached.get(),
                       .slot_bytes = memory.slot_bytes,
                       .layer = layer,
                       .num_layers = memory.num_layers,
                       .num_kv_heads = memory.heads.num,
                       .head_dim = memory.heads.dim,
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
  Heads heads;
  int64_t most_chunks;
  size_t top_k;
};

std::vector<int64_t> random_counts(int64_t most, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int64_t> counts(100);
  for (int64_t& count : counts) count = static_cast<int64_t>(random() % (most + 1));
  return counts;
}

class GatherRecordsCuda : public testing::TestWithParam<ContentType> {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "no GPU";
  }
};

TEST_P(GatherRecordsCuda, CopiesTheChosenRecordsInOrderFromEveryPlace) {
  // Rows of whole words and groups, and rows and heads that end within one.
  for (const Shape& shape :
       {Shape{3, {8, 128}, 16, 16}, Shape{2, {2, 8}, 3, 5}, Shape{1, {1, 8}, 40, 64},
        Shape{2, {43, 24}, 5, 16}, Shape{18, {4, 64}, 2, 1}, Shape{1, {3, 40}, 30, 64},
        Shape{1, {40, 128}, 20, 16}, Shape{1, {160, 128}, 6, 16}, Shape{2, {8, 128}, 70, 64}}) {
    Memory memory(random_counts(shape.most_chunks, 7), shape.num_layers, shape.heads, 8,
                  GetParam());
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
            << "F = " << shape.heads.width() << ", layer " << layer << ", cached " << is_cached;
        EXPECT_TRUE(gather(memory, memory.pinned.get(), places, layer, first_row, capacity) ==
                    expected)
            << "pinned, F = " << shape.heads.width() << ", layer " << layer << ", cached "
            << is_cached;
      }
    }
  }
}

TEST_P(GatherRecordsCuda, WritesNothingBehindTheCapacityAndSaysSo) {
  const Memory memory({4, 3, 2}, 2, {1, 64}, 3, GetParam());
  for (const int64_t capacity : {2, 3, 7, 9, 10, 11}) {
    const Gathered expected = wanted(memory, {2, 0, 1}, 1, 2, capacity);
    EXPECT_EQ(expected.overflow, capacity < 11 ? 1 : 0);
    EXPECT_TRUE(gather(memory, memory.on_gpu.get(), {2, 0, 1}, 1, 2, capacity) == expected)
        << capacity << " rows";
  }
}

TEST_P(GatherRecordsCuda, GathersNothingFromNobody) {
  const Memory memory({4, 0, 2}, 1, {1, 64}, 3, GetParam());
  for (const std::vector<int64_t>& places : {std::vector<int64_t>{}, {-1, -1}, {1}}) {
    EXPECT_TRUE(gather(memory, memory.on_gpu.get(), places, 0, 3, 5) ==
                wanted(memory, places, 0, 3, 5));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GatherRecordsCuda,
                         testing::Values(ContentType::kBFloat16, ContentType::kInt8,
                                         ContentType::kInt4),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(GatherRecordsShapes, RefusesThoseThatItCannotCopy) {
  const auto expect_refused = [](const auto& change) {
    GatherRecordsParams params{
        .top_k = 1, .num_layers = 1, .num_kv_heads = 2, .head_dim = 32, .capacity = 4};
    change(params);
    EXPECT_THROW(gather_records_cuda(params, nullptr), Error);
  };
  expect_refused([](GatherRecordsParams& p) { p.top_k = kMostRouted + 1; });
  expect_refused([](GatherRecordsParams& p) { p.head_dim = 6; });
  expect_refused([](GatherRecordsParams& p) { p.layer = 1; });
  expect_refused([](GatherRecordsParams& p) { p.first_row = 5; });
  expect_refused([](GatherRecordsParams& p) { p.type = ContentType::kFloat32; });
  expect_refused([](GatherRecordsParams& p) {
    p.type = ContentType::kInt8;
    p.head_dim = 4;  // a group would end within eight values
  });
  expect_refused([](GatherRecordsParams& p) {
    p.type = ContentType::kInt8;
    p.num_kv_heads = 768;  // K and V of a chunk: 2 * (24,576 + 1,536) bytes
  });
}

}  // namespace
}  // namespace msa::kernels
