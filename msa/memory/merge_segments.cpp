#include "msa/memory/merge_segments.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "msa/memory/bank_segments.h"
#include "msa/memory/segment_layout.h"
#include "msa/memory/segment_writer.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

/// Collects parts of files and hands them on in large pieces.
class Copying {
 public:
  explicit Copying(const storage::Append& append) : append_(append), buffer_(kBufferBytes) {}

  void copy(const storage::SegmentFile& file, const char* tensor, int64_t offset, int64_t count) {
    while (count > 0) {
      const auto part = std::min<int64_t>(count, static_cast<int64_t>(buffer_.size() - used_));
      file.read(tensor, static_cast<uint64_t>(offset),
                std::span(buffer_).subspan(used_, static_cast<size_t>(part)));
      used_ += static_cast<size_t>(part);
      offset += part;
      count -= part;
      if (used_ == buffer_.size()) flush();
    }
  }

  void flush() {
    append_(std::span<const std::byte>(buffer_).first(used_));
    used_ = 0;
  }

 private:
  const storage::Append& append_;
  std::vector<std::byte> buffer_;
  size_t used_ = 0;
};

/// Rows of every run, in order; `num_layers` times where layers come first.
storage::TensorStream rows_of(const BankSegments& from, const char* name, storage::DataType type,
                              std::vector<int64_t> shape, int64_t num_layers, int64_t chunk_bytes) {
  const auto write = [=, &from](const storage::Append& append) {
    Copying copying(append);
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      from.for_each_run([&](const BankSegments::Segment& segment, const ChunkRun& run) {
        const int64_t stored = layer * segment.num_stored_chunks + run.first_stored;
        copying.copy(*segment.file, name, stored * chunk_bytes, run.count * chunk_bytes);
      });
    }
    copying.flush();
  };
  return {.name = name, .type = type, .shape = std::move(shape), .write = write};
}

storage::TensorStream numbers(const char* name, const std::vector<int64_t>& values) {
  return {.name = name,
          .type = storage::DataType::kI64,
          .shape = {static_cast<int64_t>(values.size())},
          .write = [&values](const storage::Append& append) {
            append(std::as_bytes(std::span(values)));
          }};
}

}  // namespace

SegmentRow merge_segments(FileSystem& files, const std::filesystem::path& folder,
                          const BankFacts& facts, std::span<const SegmentRow> segments,
                          std::span<const Passage> passages, const std::filesystem::path& path,
                          int64_t id) {
  const BankSegments from(files, folder, facts, segments, passages);
  SegmentRow row{.id = id,
                 .file = segment_file_name(id),
                 .passages = from.num_documents(),
                 .chunks = from.num_chunks()};
  std::vector<int64_t> passage_ids;
  for (const Passage& passage : passages) {
    passage_ids.push_back(passage.id);
    row.tokens += passage.tokens;
  }
  const int64_t num_layers = facts.shape.num_layers;
  std::vector<storage::TensorStream> tensors{numbers(kFirstChunkTensor, from.first_chunk()),
                                             numbers(kPassageIdTensor, passage_ids)};
  if (facts.key_type == kernels::NumberType::kInt8) {
    tensors.push_back(rows_of(from, kRoutingScaleTensor, storage::DataType::kF32,
                              {num_layers, row.chunks}, num_layers, sizeof(float)));
  }
  tensors.push_back(rows_of(from, kRoutingKeyTensor, data_type(facts.key_type),
                            {num_layers, row.chunks, facts.shape.key_dim()}, num_layers,
                            facts.shape.key_dim() * kernels::bytes_of(facts.key_type)));
  const ContentTensor content = content_tensor(facts, row.chunks);
  tensors.push_back(rows_of(from, kContentTensor, content.type, content.shape, 1,
                            num_layers * content_chunk_bytes(facts)));
  const auto written =
      storage::write_segment(files, path, std::move(tensors), segment_metadata(facts));
  row.bytes = static_cast<int64_t>(written.num_bytes);
  row.digest = written.digest;
  return row;
}

}  // namespace msa::memory
