#include "msa/memory/segment_layout.h"

#include <algorithm>
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

std::span<const Passage> passages_in(std::span<const Passage> all, int64_t segment) {
  const auto [first, end] = std::ranges::equal_range(all, segment, {}, &Passage::segment);
  return {first, end};
}

void expect_segment(const storage::SegmentFile& segment, const BankFacts& facts,
                    const SegmentRow& row, std::span<const Passage> passages) {
  const auto num_passages = static_cast<int64_t>(passages.size());
  if (num_passages != row.passages) {
    refuse(segment, "holds ", row.passages, " passages, the catalog has ", num_passages);
  }
  const MemoryShape& shape = facts.shape;
  expect_tensor(segment, kFirstChunkTensor, storage::DataType::kI64, {num_passages + 1});
  expect_tensor(segment, kPassageIdTensor, storage::DataType::kI64, {num_passages});
  expect_tensor(segment, kRoutingKeyTensor, data_type(facts.key_type),
                {shape.num_layers, row.chunks, shape.key_dim()});
  if (facts.key_type == kernels::NumberType::kInt8) {
    expect_tensor(segment, kRoutingScaleTensor, storage::DataType::kF32,
                  {shape.num_layers, row.chunks});
  }
  const ContentTensor content = content_tensor(facts, row.chunks);
  expect_tensor(segment, kContentTensor, content.type, content.shape);
  const auto made_by = segment.metadata().find("model_fingerprint");
  if (made_by == segment.metadata().end() || made_by->second != facts.model_fingerprint) {
    refuse(segment, "was made by another model than the bank's");
  }
  const auto first_chunk = read_numbers(segment, kFirstChunkTensor, passages.size() + 1);
  const auto ids = read_numbers(segment, kPassageIdTensor, passages.size());
  int64_t chunk = 0;
  for (size_t n = 0; n < passages.size(); ++n) {
    if (ids[n] != passages[n].id || first_chunk[n] != chunk ||
        passages[n].chunks > row.chunks - chunk) {
      refuse(segment, "place ", n, " is not that of passage ", passages[n].id,
             " as the catalog says");
    }
    chunk += passages[n].chunks;
  }
  if (first_chunk.back() != chunk || chunk != row.chunks) {
    refuse(segment, "holds ", row.chunks, " chunks, the catalog's passages have ", chunk);
  }
}

}  // namespace msa::memory
