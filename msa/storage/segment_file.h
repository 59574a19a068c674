#pragma once
// An immutable file of tensors with a digest for every block: what is read is what was written.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "msa/base/file_pool.h"
#include "msa/storage/digest.h"
#include "msa/storage/safetensors.h"

namespace msa::storage {

constexpr uint64_t kDigestBlockBytes = uint64_t{256} << 10;

/// The tensor that holds the digests, the last of a file: U8 [blocks, 16], XXH3-128 of every
/// kDigestBlockBytes of the file before it (header included; the last block may be short).
inline constexpr const char* kDigestTensor = "block_digests";

struct WrittenSegment {
  uint64_t num_bytes = 0;
  Digest digest;  // of the digest table: kept apart from the file, it vouches for all of it
};

/// Writes a file and syncs it; publishing it under its final name is the caller's.
WrittenSegment write_segment(FileSystem& files, const std::filesystem::path& path,
                             std::vector<TensorStream> tensors,
                             const std::map<std::string, std::string>& metadata);
WrittenSegment write_segment(FileSystem& files, const std::filesystem::path& path,
                             const std::vector<TensorToWrite>& tensors,
                             const std::map<std::string, std::string>& metadata);

struct SegmentDamage {
  uint64_t offset = 0;  // of the block or table that is not as it was written, or where a file ends
  std::string what;
};

/// Everything that is wrong with a file, by rising offset; reads all of it on all threads. Each
/// block is checked, whatever else is damaged. Without a `digest` the file's own table is taken for
/// good. Throws as FileSystem::open_to_read.
std::vector<SegmentDamage> find_segment_damage(FileSystem& files, const std::filesystem::path& path,
                                               uint64_t num_bytes,
                                               const std::optional<Digest>& digest);

/// Copies a file to a new one and syncs it; every byte has been checked on the way. Throws
/// Error(kCorruption) naming `from` and the offset of what is not as it was written, else as
/// FileSystem; `to` may then hold a part.
void copy_segment(FileSystem& files, const std::filesystem::path& from,
                  const std::filesystem::path& to, uint64_t num_bytes, const Digest& digest);

/// Bytes before the digest table of a file of `num_bytes`; nothing if no segment has that size.
std::optional<uint64_t> digested_bytes_of(uint64_t num_bytes);

/// A read of a segment that the caller makes: bytes [first, end) of the file, of which those from
/// `wanted` on were asked for.
struct SegmentRead {
  std::shared_ptr<const File> file;  // shared, as that of FilePool
  uint64_t opening = 0;
  std::string tensor;
  uint64_t first = 0;
  uint64_t end = 0;
  uint64_t wanted = 0;

  size_t size() const { return end - first; }
};

/// Safe for several threads at once.
class SegmentFile {
 public:
  /// Throws Error(kCorruption) naming file and offset if its size, digest table or header is not
  /// the expected one, or as FileSystem::open_to_read and File::read_at. `files` must outlive it.
  static std::unique_ptr<SegmentFile> open(FilePool& files, const std::filesystem::path& path,
                                           uint64_t num_bytes, const Digest& digest);

  const TensorInfo& tensor(const std::string& name) const { return header_.tensor(name); }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata(); }
  const std::filesystem::path& path() const { return header_.path(); }

  /// Bytes from `offset` within a tensor. Every block is checked when it is first touched, and
  /// again if the pool has opened the file anew since, on the very bytes that are handed out. `out`
  /// is undefined if the call throws: Error(kInvalidArgument) if the range is not within the
  /// tensor, Error(kCorruption) with file and offset of a block that does not match.
  void read(const std::string& name, uint64_t offset, std::span<std::byte> out) const;

  /// The same in two steps, for reads that go to the disk together. A block that has not been
  /// checked is read whole, so that up to 2 * kDigestBlockBytes more are read than were asked for.
  /// Throws as read().
  SegmentRead plan_read(const std::string& name, uint64_t offset, uint64_t num_bytes) const;

  /// Throws as read() if the `bytes` of a planned read are not those that were written.
  void check(const SegmentRead& read, std::span<const std::byte> bytes) const;

 private:
  explicit SegmentFile(FilePool& files) : files_(files) {}

  uint64_t place_of(const std::string& name, uint64_t offset, uint64_t num_bytes) const;
  void expect_block(const std::string& name, uint64_t block, std::span<const std::byte> bytes,
                    uint64_t opening) const;
  bool is_checked(uint64_t block, uint64_t opening) const {
    return checked_in_[block].load(std::memory_order_relaxed) == opening;
  }
  uint64_t end_of(uint64_t block) const;

  FilePool& files_;
  SafetensorsHeader header_;
  std::vector<Digest> digests_;
  uint64_t digested_bytes_ = 0;
  std::unique_ptr<std::atomic<uint64_t>[]> checked_in_;  // of each block: the opening, 0 for none
};

}  // namespace msa::storage
