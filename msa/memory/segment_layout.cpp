#include "msa/memory/segment_layout.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "msa/base/error.h"

namespace msa::memory {
namespace {

template <typename... Parts>
[[noreturn]] void refuse(const storage::SegmentFile& segment, const Parts&... parts) {
  throw Error(ErrorCode::kCorruption, segment.path().string(), ": ", parts...);
}

void expect_tensor(const storage::SegmentFile& segment, const char* name, storage::DataType type,
                   const std::vector<int64_t>& shape) {
  const storage::TensorInfo& info = segment.tensor(name);
  if (info.type != type || info.shape != shape) {
    refuse(segment, "tensor \"", name, "\" has another type or shape than the bank's facts say");
  }
}

std::vector<int64_t> read_numbers(const storage::SegmentFile& segment, const char* name,
                                  size_t count) {
  std::vector<int64_t> numbers(count);
  segment.read(name, 0, std::as_writable_bytes(std::span(numbers)));
  return numbers;
}

}  // namespace

std::map<std::string, std::string> segment_metadata(const BankFacts& facts) {
  return {{"format", "msa-segment-1"},
          {"model_fingerprint", facts.model_fingerprint},
          {"chunk_tokens", std::to_string(facts.shape.chunk_tokens)}};
}

storage::DataType data_type(kernels::NumberType type) {
  return type == kernels::NumberType::kFloat32    ? storage::DataType::kF32
         : type == kernels::NumberType::kBFloat16 ? storage::DataType::kBF16
                                                  : storage::DataType::kI8;
}

ContentTensor content_tensor(const BankFacts& facts, int64_t num_chunks) {
  const int64_t num_rows = facts.shape.num_layers * num_chunks * 2;
  const std::vector<int64_t> plain{num_rows, facts.shape.num_kv_heads, facts.shape.head_dim};
  const std::vector<int64_t> quantized{num_rows, content_layout(facts).row_bytes};
  switch (facts.content_type) {
    case kernels::ContentType::kFloat32:
      return {.type = storage::DataType::kF32, .shape = plain};
    case kernels::ContentType::kBFloat16:
      return {.type = storage::DataType::kBF16, .shape = plain};
    case kernels::ContentType::kInt8:
      return {.type = storage::DataType::kI8, .shape = quantized};
    case kernels::ContentType::kInt4:
      return {.type = storage::DataType::kU8, .shape = quantized};
  }
  return {};
}

std::span<const Passage> passages_in(std::span<const Passage> by_segment, int64_t segment) {
  // Not equal_range: clang before 16 does not compile what it returns.
  return {std::ranges::lower_bound(by_segment, segment, {}, &Passage::segment),
          std::ranges::upper_bound(by_segment, segment, {}, &Passage::segment)};
}

SegmentTables read_tables(const storage::SegmentFile& segment, const BankFacts& facts,
                          const SegmentRow& row) {
  const MemoryShape& shape = facts.shape;
  expect_tensor(segment, kPassageIdTensor, storage::DataType::kI64, {row.passages});
  expect_tensor(segment, kFirstChunkTensor, storage::DataType::kI64, {row.passages + 1});
  expect_tensor(segment, kRoutingKeyTensor, data_type(facts.key_type),
                {shape.num_layers, row.chunks, shape.key_dim()});
  if (facts.key_type == kernels::NumberType::kInt8) {
    expect_tensor(segment, kRoutingScaleTensor, storage::DataType::kF32,
                  {shape.num_layers, row.chunks});
  }
  const ContentTensor content = content_tensor(facts, row.chunks);
  expect_tensor(segment, kContentTensor, content.type, content.shape);
  for (const auto& [name, value] : segment_metadata(facts)) {
    const auto found = segment.metadata().find(name);
    if (found == segment.metadata().end() || found->second != value) {
      refuse(segment, "its ", name, " is ",
             found == segment.metadata().end() ? "missing" : found->second, ", the bank's ", value);
    }
  }
  const auto num_passages = static_cast<size_t>(row.passages);
  SegmentTables tables{.passage_id = read_numbers(segment, kPassageIdTensor, num_passages),
                       .first_chunk = read_numbers(segment, kFirstChunkTensor, num_passages + 1)};
  const auto is_rising = [](const std::vector<int64_t>& numbers, auto is_out_of_order) {
    return std::ranges::adjacent_find(numbers, is_out_of_order) == numbers.end();
  };
  if (!is_rising(tables.passage_id, std::greater_equal<>()) ||
      !is_rising(tables.first_chunk, std::greater<>()) || tables.first_chunk.front() != 0 ||
      tables.first_chunk.back() != row.chunks) {
    refuse(segment, "its passages or their chunks are out of order");
  }
  return tables;
}

std::vector<int64_t> stored_chunks_of(const storage::SegmentFile& segment,
                                      const SegmentTables& tables,
                                      std::span<const Passage> passages) {
  std::vector<int64_t> stored;
  stored.reserve(passages.size());
  auto from = tables.passage_id.begin();
  for (const Passage& passage : passages) {
    from = std::lower_bound(from, tables.passage_id.end(), passage.id);
    const int64_t* first = tables.first_chunk.data() + (from - tables.passage_id.begin());
    if (from == tables.passage_id.end() || *from != passage.id ||
        first[1] - first[0] != passage.chunks) {
      refuse(segment, "passage ", passage.id, " is not in it as the catalog says");
    }
    stored.push_back(*first);
  }
  return stored;
}

}  // namespace msa::memory
