#pragma once
// A whole file as bytes in memory, mapped where the system can.

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

#include "msa/base/file_system.h"

namespace msa {

/// The file must not shrink while it is mapped: publish anew, do not write in place. Immutable; may
/// be used from several threads.
class MappedFile {
 public:
  /// Maps the file, or reads it whole where File::descriptor gives none.
  /// Throws as FileSystem::open_to_read and File::read_at, Error(kIo) if mapping fails.
  static std::unique_ptr<MappedFile> open(FileSystem& files, const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// Aligned to 16 bytes; as long as this object.
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  MappedFile() = default;

  std::span<const std::byte> bytes_;
  std::unique_ptr<std::byte[]> copy_;  // where the file is not mapped
};

}  // namespace msa
