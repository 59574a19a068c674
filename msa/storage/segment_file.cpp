#include "msa/storage/segment_file.h"

#include <algorithm>
#include <cstring>

#include "msa/base/error.h"
#include "msa/base/threads.h"

namespace msa::storage {
namespace {

constexpr int64_t kBlocksInRun = 16;  // one after the other on one thread

/// Writes to a file and digests its blocks on the way.
class BlockWriter {
 public:
  explicit BlockWriter(File& file) : file_(file) {}

  void append(std::span<const std::byte> bytes) {
    file_.append(bytes);
    num_bytes_ += bytes.size();
    while (!bytes.empty()) {
      const auto part =
          bytes.first(std::min<uint64_t>(bytes.size(), kDigestBlockBytes - in_block_));
      digester_.add(part);
      in_block_ += part.size();
      bytes = bytes.subspan(part.size());
      if (in_block_ == kDigestBlockBytes) finish_block();
    }
  }

  const std::vector<Digest>& finish() {
    if (in_block_ > 0) finish_block();
    return digests_;
  }

  uint64_t num_bytes() const { return num_bytes_; }

 private:
  void finish_block() {
    digests_.push_back(digester_.finish());
    digester_ = Digester();
    in_block_ = 0;
  }

  File& file_;
  Digester digester_;
  uint64_t in_block_ = 0;
  uint64_t num_bytes_ = 0;
  std::vector<Digest> digests_;
};

uint64_t blocks_of(uint64_t num_bytes) {
  return (num_bytes + kDigestBlockBytes - 1) / kDigestBlockBytes;
}

}  // namespace

WrittenSegment write_segment(FileSystem& files, const std::filesystem::path& path,
                             std::vector<TensorToWrite> tensors,
                             const std::map<std::string, std::string>& metadata) {
  uint64_t data_bytes = 0;
  for (const TensorToWrite& tensor : tensors) data_bytes += tensor.bytes.size();
  // The header's length depends on the number of blocks it announces, and that on the header's
  // length.
  std::vector<Digest> table;
  std::string header;
  const size_t place = tensors.size();
  tensors.push_back({.name = kDigestTensor, .type = DataType::kU8, .shape = {}, .bytes = {}});
  for (uint64_t blocks = 1;; blocks = blocks_of(header.size() + data_bytes)) {
    table.resize(blocks);
    tensors[place].shape = {static_cast<int64_t>(blocks), static_cast<int64_t>(sizeof(Digest))};
    tensors[place].bytes = std::as_bytes(std::span(table));
    header = safetensors_header(tensors, metadata);
    if (blocks_of(header.size() + data_bytes) == blocks) break;
  }
  const auto file = files.create(path);
  BlockWriter writer(*file);
  writer.append(std::as_bytes(std::span(header)));
  for (size_t i = 0; i < place; ++i) writer.append(tensors[i].bytes);
  table = writer.finish();
  const auto table_bytes = std::as_bytes(std::span(table));
  file->append(table_bytes);
  file->sync();
  return {writer.num_bytes() + table_bytes.size(), digest_of(table_bytes)};
}

std::unique_ptr<SegmentFile> SegmentFile::open(FileSystem& files, const std::filesystem::path& path,
                                               uint64_t num_bytes, const Digest& digest) {
  auto segment = std::unique_ptr<SegmentFile>(new SegmentFile());
  segment->file_ = files.open_to_read(path);
  const uint64_t size = segment->file_->size();
  if (size != num_bytes) {
    throw Error(ErrorCode::kCorruption, path.string(), " holds ", size, " bytes, ", num_bytes,
                " were written");
  }
  try {
    segment->header_ = SafetensorsFile::open(files, path);
    const TensorInfo& table = segment->header_->tensor(kDigestTensor);
    if (table.offset + table.num_bytes != size ||
        table.num_bytes != blocks_of(table.offset) * sizeof(Digest)) {
      throw Error(ErrorCode::kCorruption, "the digest table is out of place");
    }
    segment->digested_bytes_ = table.offset;
    segment->digests_.resize(table.num_bytes / sizeof(Digest));
    segment->header_->read(kDigestTensor, std::as_writable_bytes(std::span(segment->digests_)));
  } catch (const Error& error) {
    throw Error(ErrorCode::kCorruption, path.string(), " at byte 0: the header is damaged (",
                error.what(), ")");
  }
  if (digest_of(std::as_bytes(std::span(segment->digests_))) != digest) {
    throw Error(ErrorCode::kCorruption, path.string(), " at byte ", segment->digested_bytes_,
                ": the digest table is not the one written");
  }
  segment->is_checked_ = std::make_unique<std::atomic<bool>[]>(segment->digests_.size());
  // The header has been read before its digest could be known.
  const uint64_t header_end =
      std::min_element(
          segment->header_->tensors().begin(), segment->header_->tensors().end(),
          [](const auto& a, const auto& b) { return a.second.offset < b.second.offset; })
          ->second.offset;
  std::vector<std::byte> room;
  for (uint64_t block = 0; block < blocks_of(header_end); ++block) {
    if (!segment->is_block_good(block, segment->read_block(block, room))) {
      throw Error(ErrorCode::kCorruption, path.string(), " at byte ", block * kDigestBlockBytes,
                  ": the header's block is damaged");
    }
  }
  return segment;
}

bool SegmentFile::is_block_good(uint64_t block, std::span<const std::byte> bytes) const {
  if (digest_of(bytes) != digests_[block]) return false;
  is_checked_[block].store(true, std::memory_order_release);
  return true;
}

std::span<std::byte> SegmentFile::read_block(uint64_t block, std::vector<std::byte>& room) const {
  const uint64_t first = block * kDigestBlockBytes;
  room.resize(std::min(kDigestBlockBytes, digested_bytes_ - first));
  file_->read_at(first, room);
  return room;
}

void SegmentFile::read(const std::string& name, uint64_t offset, std::span<std::byte> out) const {
  if (out.empty()) return;
  const TensorInfo& info = header_->tensor(name);
  MSA_CHECK(offset <= info.num_bytes && out.size() <= info.num_bytes - offset, path().string(),
            ": bytes ", offset, " to ", offset + out.size(), " are outside tensor \"", name, "\"");
  const uint64_t first = info.offset + offset;
  const uint64_t end = first + out.size();
  file_->read_at(first, out);
  std::vector<std::byte> room;
  for (uint64_t block = first / kDigestBlockBytes; block * kDigestBlockBytes < end; ++block) {
    if (is_checked_[block].load(std::memory_order_acquire)) continue;
    const uint64_t block_first = block * kDigestBlockBytes;
    const uint64_t block_end = std::min(block_first + kDigestBlockBytes, digested_bytes_);
    const uint64_t common_first = std::max(block_first, first);
    const auto common = out.subspan(common_first - first, std::min(block_end, end) - common_first);
    // A block that lies in the request as a whole is checked where it is. Of any other the part
    // wanted is taken from the bytes that were checked.
    const bool is_whole = common.size() == block_end - block_first;
    const std::span<const std::byte> bytes = is_whole ? common : read_block(block, room);
    if (!is_block_good(block, bytes)) {
      throw Error(ErrorCode::kCorruption, path().string(), " at byte ", block_first,
                  ": the block is damaged (tensor \"", name, "\")");
    }
    if (!is_whole) {
      std::memcpy(common.data(), bytes.data() + (common_first - block_first), common.size());
    }
  }
}

std::vector<uint64_t> SegmentFile::damaged_blocks() const {
  const auto num_blocks = static_cast<int64_t>(digests_.size());
  const int64_t num_runs = (num_blocks + kBlocksInRun - 1) / kBlocksInRun;
  std::vector<std::vector<uint64_t>> damaged(static_cast<size_t>(num_runs));
  parallel_for(num_runs, [&](int64_t run) {
    std::vector<std::byte> room;
    const int64_t end = std::min((run + 1) * kBlocksInRun, num_blocks);
    for (auto block = static_cast<uint64_t>(run * kBlocksInRun); block < static_cast<uint64_t>(end);
         ++block) {
      if (is_block_good(block, read_block(block, room))) continue;
      damaged[static_cast<size_t>(run)].push_back(block * kDigestBlockBytes);
    }
  });
  std::vector<uint64_t> all;
  for (const auto& part : damaged) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace msa::storage
