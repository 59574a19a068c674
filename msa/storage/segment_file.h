#pragma once
// An immutable file of tensors with a digest for every block: what is read is what was written.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

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
                             std::vector<TensorToWrite> tensors,
                             const std::map<std::string, std::string>& metadata);

/// Safe for several threads at once.
class SegmentFile {
 public:
  /// Throws Error(kCorruption) naming the file if its size or digest table is not the expected one.
  static std::unique_ptr<SegmentFile> open(FileSystem& files, const std::filesystem::path& path,
                                           uint64_t num_bytes, const Digest& digest);

  const TensorInfo& tensor(const std::string& name) const { return header_->tensor(name); }
  const std::map<std::string, std::string>& metadata() const { return header_->metadata(); }
  const std::filesystem::path& path() const { return file_->path(); }

  /// Bytes from `offset` within a tensor. Every block is checked when it is first touched, on the
  /// very bytes that are handed out; later reads of it are not checked again. `out` is undefined if
  /// the call throws: Error(kInvalidArgument) if the range is not within the tensor,
  /// Error(kCorruption) with file and offset of a block that does not match.
  void read(const std::string& name, uint64_t offset, std::span<std::byte> out) const;

  /// Offsets of all damaged blocks, rising; reads the whole file on all threads.
  std::vector<uint64_t> damaged_blocks() const;

 private:
  SegmentFile() = default;

  bool is_block_good(uint64_t block, std::span<const std::byte> bytes) const;
  std::span<std::byte> read_block(uint64_t block, std::vector<std::byte>& room) const;

  std::unique_ptr<File> file_;
  std::unique_ptr<SafetensorsFile> header_;
  std::vector<Digest> digests_;
  uint64_t digested_bytes_ = 0;
  std::unique_ptr<std::atomic<bool>[]> is_checked_;
};

}  // namespace msa::storage
