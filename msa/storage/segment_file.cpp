#include "msa/storage/segment_file.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <iterator>
#include <utility>

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

/// What a file says its blocks are.
struct DigestTable {
  uint64_t digested_bytes = 0;  // also the table's offset
  std::vector<Digest> digests;

  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(digests)); }
};

/// The table stands at the end: the size says where it begins.
DigestTable read_table(const File& file, uint64_t num_bytes) {
  const auto digested_bytes = digested_bytes_of(num_bytes);
  if (!digested_bytes) {
    throw Error(ErrorCode::kCorruption, file.path().string(), ": no segment has ", num_bytes,
                " bytes");
  }
  DigestTable table{.digested_bytes = *digested_bytes, .digests = {}};
  table.digests.resize(blocks_of(*digested_bytes));
  file.read_at(*digested_bytes, std::as_writable_bytes(std::span(table.digests)));
  return table;
}

std::span<std::byte> read_block(const File& file, uint64_t block, uint64_t digested_bytes,
                                std::vector<std::byte>& room) {
  const uint64_t first = block * kDigestBlockBytes;
  room.resize(std::min(kDigestBlockBytes, digested_bytes - first));
  file.read_at(first, room);
  return room;
}

std::string size_message(uint64_t size, uint64_t num_bytes) {
  return "holds " + std::to_string(size) + " bytes, " + std::to_string(num_bytes) + " were written";
}

/// The table of a file that has the size and the table that were written.
DigestTable expect_table(const File& file, uint64_t num_bytes, const Digest& digest) {
  const uint64_t size = file.size();
  if (size != num_bytes) {
    throw Error(ErrorCode::kCorruption, file.path().string(), " ", size_message(size, num_bytes));
  }
  DigestTable table = read_table(file, num_bytes);
  if (digest_of(table.bytes()) != digest) {
    throw Error(ErrorCode::kCorruption, file.path().string(), " at byte ", table.digested_bytes,
                ": the digest table is not the one written");
  }
  return table;
}

/// The header of a file whose blocks are known. None of its bytes is parsed before its block has
/// been checked.
SafetensorsHeader read_header(const File& file, const DigestTable& table) {
  std::vector<std::byte> room;
  uint64_t header_end = sizeof(uint64_t);
  for (uint64_t block = 0; block < blocks_of(header_end); ++block) {
    const auto bytes = read_block(file, block, table.digested_bytes, room);
    if (digest_of(bytes) != table.digests[block]) {
      throw Error(ErrorCode::kCorruption, file.path().string(), " at byte ",
                  block * kDigestBlockBytes, ": the header's block is damaged");
    }
    if (block > 0) continue;
    uint64_t length = 0;
    for (size_t i = sizeof length; i-- > 0;) {
      length = length << 8 | std::to_integer<uint64_t>(bytes[i]);
    }
    header_end = std::min(length, table.digested_bytes - sizeof length) + sizeof length;
  }
  try {
    SafetensorsHeader header = SafetensorsHeader::read(file);
    const TensorInfo& info = header.tensor(kDigestTensor);
    if (info.offset != table.digested_bytes || info.num_bytes != table.bytes().size()) {
      throw Error(ErrorCode::kInvalidFormat, "the digest table is out of place");
    }
    return header;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidFormat && error.code() != ErrorCode::kCorruption) throw;
    throw Error(ErrorCode::kCorruption, file.path().string(), " at byte 0: the header is damaged (",
                error.what(), ")");
  }
}

}  // namespace

WrittenSegment write_segment(FileSystem& files, const std::filesystem::path& path,
                             std::vector<TensorStream> tensors,
                             const std::map<std::string, std::string>& metadata) {
  uint64_t data_bytes = 0;
  for (const TensorStream& tensor : tensors) data_bytes += tensor.num_bytes();
  // The header's length depends on the number of blocks it announces, and that on the header's
  // length.
  std::string header;
  const size_t place = tensors.size();
  tensors.push_back({.name = kDigestTensor, .type = DataType::kU8, .shape = {}, .write = {}});
  for (uint64_t blocks = 1;; blocks = blocks_of(header.size() + data_bytes)) {
    tensors[place].shape = {static_cast<int64_t>(blocks), static_cast<int64_t>(sizeof(Digest))};
    header = safetensors_header(tensors, metadata);
    if (blocks_of(header.size() + data_bytes) == blocks) break;
  }
  const auto file = files.create(path);
  BlockWriter writer(*file);
  writer.append(std::as_bytes(std::span(header)));
  for (size_t i = 0; i < place; ++i) {
    tensors[i].write_all([&](std::span<const std::byte> bytes) { writer.append(bytes); });
  }
  const auto table_bytes = std::as_bytes(std::span(writer.finish()));
  file->append(table_bytes);
  file->sync();
  return {writer.num_bytes() + table_bytes.size(), digest_of(table_bytes)};
}

WrittenSegment write_segment(FileSystem& files, const std::filesystem::path& path,
                             const std::vector<TensorToWrite>& tensors,
                             const std::map<std::string, std::string>& metadata) {
  std::vector<TensorStream> streams;
  for (const TensorToWrite& tensor : tensors) {
    streams.push_back({.name = tensor.name,
                       .type = tensor.type,
                       .shape = tensor.shape,
                       .write = [&tensor](const Append& append) { append(tensor.bytes); }});
  }
  return write_segment(files, path, std::move(streams), metadata);
}

std::optional<uint64_t> digested_bytes_of(uint64_t num_bytes) {
  constexpr uint64_t kWithDigest = kDigestBlockBytes + sizeof(Digest);
  const uint64_t blocks = num_bytes / kWithDigest + (num_bytes % kWithDigest == 0 ? 0 : 1);
  if (num_bytes < blocks * sizeof(Digest)) return std::nullopt;
  const uint64_t digested = num_bytes - blocks * sizeof(Digest);
  if (digested < sizeof(uint64_t) || blocks_of(digested) != blocks) return std::nullopt;
  return digested;
}

std::vector<SegmentDamage> find_segment_damage(FileSystem& files, const std::filesystem::path& path,
                                               uint64_t num_bytes,
                                               const std::optional<Digest>& digest) {
  const auto file = files.open_to_read(path);
  const uint64_t size = file->size();
  std::vector<SegmentDamage> damage;
  if (size != num_bytes) {
    damage.push_back({std::min(size, num_bytes), size_message(size, num_bytes)});
    if (size < num_bytes) return damage;  // the table is no more
  }
  DigestTable table;
  try {
    table = read_table(*file, num_bytes);
  } catch (const Error& error) {
    damage.push_back({digested_bytes_of(num_bytes).value_or(0), error.what()});
    return damage;
  }
  const bool is_table_good = !digest || digest_of(table.bytes()) == *digest;
  if (!is_table_good && !damage.empty()) return damage;  // another file
  const auto num_blocks = static_cast<int64_t>(table.digests.size());
  const int64_t num_runs = (num_blocks + kBlocksInRun - 1) / kBlocksInRun;
  std::vector<std::vector<SegmentDamage>> found(static_cast<size_t>(num_runs));
  parallel_for(num_runs, [&](int64_t run) {
    std::vector<std::byte> room;
    const int64_t end = std::min((run + 1) * kBlocksInRun, num_blocks);
    for (auto block = static_cast<uint64_t>(run * kBlocksInRun); block < static_cast<uint64_t>(end);
         ++block) {
      std::string what;
      try {
        const auto bytes = read_block(*file, block, table.digested_bytes, room);
        if (digest_of(bytes) == table.digests[block]) continue;
        what = is_table_good ? "the block of 256 KiB from here is damaged"
                             : "the block of 256 KiB from here or its digest is damaged";
      } catch (const Error& error) {
        what = error.what();
      }
      found[static_cast<size_t>(run)].push_back({block * kDigestBlockBytes, std::move(what)});
    }
  });
  for (auto& part : found) std::ranges::move(part, std::back_inserter(damage));
  if (!is_table_good) {
    damage.push_back({table.digested_bytes, "the digest table is not the one written"});
  }
  std::ranges::stable_sort(damage, {}, &SegmentDamage::offset);
  return damage;
}

void copy_segment(FileSystem& files, const std::filesystem::path& from,
                  const std::filesystem::path& to, uint64_t num_bytes, const Digest& digest) {
  const auto file = files.open_to_read(from);
  const DigestTable table = expect_table(*file, num_bytes, digest);
  const auto copy = files.create(to);
  std::vector<std::byte> room;
  for (uint64_t block = 0; block < table.digests.size(); ++block) {
    const auto bytes = read_block(*file, block, table.digested_bytes, room);
    if (digest_of(bytes) != table.digests[block]) {
      throw Error(ErrorCode::kCorruption, from.string(), " at byte ", block * kDigestBlockBytes,
                  ": the block of 256 KiB from here is damaged");
    }
    copy->append(bytes);
  }
  copy->append(table.bytes());
  copy->sync();
}

std::unique_ptr<SegmentFile> SegmentFile::open(FilePool& files, const std::filesystem::path& path,
                                               uint64_t num_bytes, const Digest& digest) {
  auto segment = std::unique_ptr<SegmentFile>(new SegmentFile(files));
  const auto file = files.open(path).file;
  DigestTable table = expect_table(*file, num_bytes, digest);
  segment->header_ = read_header(*file, table);
  segment->digested_bytes_ = table.digested_bytes;
  segment->digests_ = std::move(table.digests);
  segment->checked_in_ = std::make_unique<std::atomic<uint64_t>[]>(segment->digests_.size());
  return segment;
}

/// Where in the file bytes of a tensor begin.
uint64_t SegmentFile::place_of(const std::string& name, uint64_t offset, uint64_t num_bytes) const {
  const TensorInfo& info = header_.tensor(name);
  MSA_CHECK(offset <= info.num_bytes && num_bytes <= info.num_bytes - offset, path().string(),
            ": bytes ", offset, " to ", offset + num_bytes, " are outside tensor \"", name, "\"");
  return info.offset + offset;
}

uint64_t SegmentFile::end_of(uint64_t block) const {
  return std::min((block + 1) * kDigestBlockBytes, digested_bytes_);
}

void SegmentFile::expect_block(const std::string& name, uint64_t block,
                               std::span<const std::byte> bytes, uint64_t opening) const {
  if (digest_of(bytes) != digests_[block]) {
    throw Error(ErrorCode::kCorruption, path().string(), " at byte ", block * kDigestBlockBytes,
                ": the block is damaged (tensor \"", name, "\")");
  }
  checked_in_[block].store(opening, std::memory_order_relaxed);
}

void SegmentFile::read(const std::string& name, uint64_t offset, std::span<std::byte> out) const {
  if (out.empty()) return;
  const uint64_t first = place_of(name, offset, out.size());
  const uint64_t end = first + out.size();
  const auto [file, opening] = files_.open(path());
  file->read_at(first, out);
  std::vector<std::byte> room;
  for (uint64_t block = first / kDigestBlockBytes; block * kDigestBlockBytes < end; ++block) {
    if (is_checked(block, opening)) continue;
    const uint64_t block_first = block * kDigestBlockBytes;
    const uint64_t block_end = end_of(block);
    const uint64_t common_first = std::max(block_first, first);
    const auto common = out.subspan(common_first - first, std::min(block_end, end) - common_first);
    // A block that lies in the request as a whole is checked where it is. Of any other the part
    // wanted is taken from the bytes that were checked.
    const bool is_whole = common.size() == block_end - block_first;
    const std::span<const std::byte> bytes =
        is_whole ? common : read_block(*file, block, digested_bytes_, room);
    expect_block(name, block, bytes, opening);
    if (!is_whole) {
      std::memcpy(common.data(), bytes.data() + (common_first - block_first), common.size());
    }
  }
}

SegmentRead SegmentFile::plan_read(const std::string& name, uint64_t offset,
                                   uint64_t num_bytes) const {
  const uint64_t first = place_of(name, offset, num_bytes);
  auto [file, opening] = files_.open(path());
  SegmentRead read{.file = std::move(file),
                   .opening = opening,
                   .tensor = name,
                   .first = first,
                   .end = first + num_bytes,
                   .wanted = first};
  if (num_bytes == 0) return read;
  const uint64_t first_block = first / kDigestBlockBytes;
  const uint64_t last_block = (read.end - 1) / kDigestBlockBytes;
  if (!is_checked(first_block, opening)) read.first = first_block * kDigestBlockBytes;
  if (!is_checked(last_block, opening)) read.end = end_of(last_block);
  return read;
}

void SegmentFile::check(const SegmentRead& read, std::span<const std::byte> bytes) const {
  assert(bytes.size() == read.size());
  for (uint64_t block = read.first / kDigestBlockBytes; block * kDigestBlockBytes < read.end;
       ++block) {
    const uint64_t block_first = block * kDigestBlockBytes;
    // A block that is not here as a whole had been checked when the read was planned.
    const bool is_whole = block_first >= read.first && end_of(block) <= read.end;
    if (!is_whole || is_checked(block, read.opening)) continue;
    expect_block(read.tensor, block,
                 bytes.subspan(block_first - read.first, end_of(block) - block_first),
                 read.opening);
  }
}

}  // namespace msa::storage
