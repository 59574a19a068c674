#pragma once
// A lock that one process holds and the system frees when it ends, however it ends.

#include <filesystem>
#include <memory>

namespace msa {

/// Holds the lock for as long as it lives.
class FileLock {
 public:
  /// Throws Error(kLocked) naming the holder's process id if another process, or another FileLock
  /// of this one, holds it.
  static std::unique_ptr<FileLock> acquire(const std::filesystem::path& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace msa
