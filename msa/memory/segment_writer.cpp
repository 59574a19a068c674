#include "msa/memory/segment_writer.h"

#include <algorithm>
#include <cstddef>
#include <span>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/content_rows.h"
#include "msa/kernels/quantize_rows.h"
#include "msa/memory/segment_layout.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {
namespace {

/// The tensors of a segment, in the types of the bank.
struct SegmentData {
  std::vector<std::byte> routing_key;
  std::vector<float> routing_scale;
  std::vector<std::byte> content;
  std::vector<int64_t> first_chunk{0};
};

SegmentData convert(const EncodedDocuments& encoded, const BankFacts& facts) {
  SegmentData data;
  for (const int64_t count : encoded.num_chunks) {
    data.first_chunk.push_back(data.first_chunk.back() + count);
  }
  const int64_t num_chunks = data.first_chunk.back();
  const int64_t num_layers = facts.shape.num_layers;
  const int64_t dim = facts.shape.key_dim();
  const int64_t key_bytes = num_chunks * dim * kernels::bytes_of(facts.key_type);
  data.routing_key.resize(num_layers * key_bytes);
  const bool is_scaled = facts.key_type == kernels::NumberType::kInt8;
  data.routing_scale.resize(is_scaled ? num_layers * num_chunks : 0);
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    kernels::quantize_rows({.row = encoded.routing_key[layer].data(),
                            .num_rows = num_chunks,
                            .dim = dim,
                            .type = facts.key_type,
                            .out = data.routing_key.data() + layer * key_bytes,
                            .scale = data.routing_scale.data() + layer * num_chunks * is_scaled});
  }
  const int64_t row_bytes = content_layout(facts).row_bytes;
  data.content.resize(num_layers * num_chunks * 2 * row_bytes);
  parallel_for(static_cast<int64_t>(encoded.num_chunks.size()), [&](int64_t n) {
    std::byte* out = data.content.data() + data.first_chunk[n] * num_layers * 2 * row_bytes;
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      for (int64_t c = data.first_chunk[n]; c < data.first_chunk[n + 1]; ++c) {
        for (const auto* rows : {&encoded.key[layer], &encoded.value[layer]}) {
          kernels::quantize_content({.row = rows->data() + c * dim,
                                     .num_rows = 1,
                                     .num_kv_heads = facts.shape.num_kv_heads,
                                     .head_dim = facts.shape.head_dim,
                                     .type = facts.content_type,
                                     .out = out});
          out += row_bytes;
        }
      }
    }
  });
  return data;
}

template <typename Value>
storage::TensorToWrite tensor(const char* name, storage::DataType type,
                              const std::vector<int64_t>& shape, const std::vector<Value>& values) {
  return {.name = name, .type = type, .shape = shape, .bytes = std::as_bytes(std::span(values))};
}

}  // namespace

void expect_storable(const EncodedDocuments& encoded, const MemoryShape& shape) {
  int64_t num_chunks = 0;
  for (const int64_t count : encoded.num_chunks) {
    MSA_CHECK(count >= 0, "a passage has ", count, " chunks");
    num_chunks += count;
  }
  for (const auto* layers : {&encoded.key, &encoded.value, &encoded.routing_key}) {
    MSA_CHECK(static_cast<int64_t>(layers->size()) == shape.num_layers, "the bank has ",
              shape.num_layers, " router layers, ", layers->size(), " were encoded");
    for (const std::vector<float>& rows : *layers) {
      MSA_CHECK(static_cast<int64_t>(rows.size()) == num_chunks * shape.key_dim(), num_chunks,
                " chunks of ", shape.key_dim(), " numbers are ", num_chunks * shape.key_dim(),
                ", got ", rows.size());
      if (!std::all_of(rows.begin(), rows.end(), [](float x) { return x - x == 0.0F; })) {
        throw Error(ErrorCode::kInternal, "the encoded documents hold a value that is not finite");
      }
    }
  }
}

SegmentRow write_segment(FileSystem& files, const std::filesystem::path& path, int64_t id,
                         const EncodedDocuments& encoded, const std::vector<int64_t>& passage_ids,
                         const BankFacts& facts) {
  const SegmentData data = convert(encoded, facts);
  const int64_t num_chunks = data.first_chunk.back();
  const auto num_passages = static_cast<int64_t>(passage_ids.size());
  const int64_t num_layers = facts.shape.num_layers;
  std::vector<storage::TensorToWrite> tensors{
      tensor(kFirstChunkTensor, storage::DataType::kI64, {num_passages + 1}, data.first_chunk),
      tensor(kPassageIdTensor, storage::DataType::kI64, {num_passages}, passage_ids)};
  if (!data.routing_scale.empty()) {
    tensors.push_back(tensor(kRoutingScaleTensor, storage::DataType::kF32, {num_layers, num_chunks},
                             data.routing_scale));
  }
  tensors.push_back(tensor(kRoutingKeyTensor, data_type(facts.key_type),
                           {num_layers, num_chunks, facts.shape.key_dim()}, data.routing_key));
  const ContentTensor content = content_tensor(facts, num_chunks);
  tensors.push_back(tensor(kContentTensor, content.type, content.shape, data.content));
  const auto written = storage::write_segment(files, path, tensors, segment_metadata(facts));
  return {.id = id,
          .file = segment_file_name(id),
          .passages = num_passages,
          .chunks = num_chunks,
          .bytes = static_cast<int64_t>(written.num_bytes),
          .digest = written.digest};
}

}  // namespace msa::memory
