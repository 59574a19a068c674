#include "msa/base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "msa/base/error.h"

namespace msa {

std::unique_ptr<FileLock> FileLock::acquire(const std::filesystem::path& path) {
  std::unique_ptr<FileLock> lock(new FileLock(-1));
  const int descriptor = lock->descriptor_ =
      ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    throw Error(errno == ENOSPC ? ErrorCode::kNoSpace : ErrorCode::kIo, "cannot open ",
                path.string(), ": ", std::strerror(errno));
  }
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    if (reason != EWOULDBLOCK) {
      throw Error(ErrorCode::kIo, "cannot lock ", path.string(), ": ", std::strerror(reason));
    }
    char text[24] = {};
    const ssize_t count = ::pread(descriptor, text, sizeof text - 1, 0);
    const std::string holder(text, count > 0 ? static_cast<size_t>(count) : 0);
    throw Error(ErrorCode::kLocked, path.parent_path().string(), " is being written by process ",
                holder.empty() ? "unknown" : holder);
  }
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(descriptor, 0) != 0 ||
      ::pwrite(descriptor, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    // The number is for messages only: the lock itself holds.
  }
  return lock;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace msa
