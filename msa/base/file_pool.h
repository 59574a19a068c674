#pragma once
// Many files to read, of which few are open at once: a process may hold only so many descriptors.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "msa/base/file_system.h"

namespace msa {

/// Files that one pool may keep open: a quarter of the descriptors that the process may have, from
/// 8 to 256.
size_t share_of_descriptors();

/// Keeps the files that were used last open and opens the others when they are asked for. Safe to
/// call from several threads.
class FilePool {
 public:
  /// At most `max_open` files stay open, and those that a caller holds. `files` must outlive it.
  FilePool(FileSystem& files, size_t max_open);

  struct Opened {
    std::shared_ptr<const File> file;  // shared: it may leave the pool while it is being read
    uint64_t opening = 0;  // from 1, another one whenever a file is opened: what was known of its
                           // bytes before may no longer hold
  };

  /// The file, open. Throws as FileSystem::open_to_read.
  Opened open(const std::filesystem::path& path);

 private:
  FileSystem& files_;
  size_t max_open_;
  std::mutex mutex_;
  uint64_t num_openings_ = 0;  // under mutex_, as is open_
  std::vector<Opened> open_;   // the one used last comes first
};

}  // namespace msa
