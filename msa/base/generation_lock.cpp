#include "msa/base/generation_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "msa/base/error.h"

namespace msa {
namespace {

struct flock bytes(short type, int64_t first, int64_t count) {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = first;
  range.l_len = count;
  return range;
}

int open_or_make(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor >= 0 || errno != ENOENT) return descriptor;
  return ::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
}

}  // namespace

std::unique_ptr<GenerationLock> GenerationLock::hold_all(const std::filesystem::path& path) {
  std::unique_ptr<GenerationLock> lock(new GenerationLock(-1));
  const int descriptor = lock->descriptor_ = open_or_make(path);
  if (descriptor < 0) {
    if (errno == EROFS || errno == EACCES || errno == EPERM || errno == ENOENT) return nullptr;
    throw Error(ErrorCode::kIo, "cannot open ", path.string(), ": ", std::strerror(errno));
  }
  struct flock range = bytes(F_RDLCK, 0, 0);  // without end
  if (::fcntl(descriptor, F_OFD_SETLK, &range) != 0) return nullptr;
  return lock;
}

void GenerationLock::narrow_to(int64_t generation) {
  MSA_CHECK(generation >= 0, "a generation is at least 0, got ", generation);
  struct flock after = bytes(F_UNLCK, generation + 1, 0);
  ::fcntl(descriptor_, F_OFD_SETLK, &after);
  if (generation == 0) return;
  struct flock before = bytes(F_UNLCK, 0, generation);
  ::fcntl(descriptor_, F_OFD_SETLK, &before);
}

GenerationLock::~GenerationLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool GenerationLock::is_held(const std::filesystem::path& path, int64_t first, int64_t end) {
  if (first >= end) return false;  // a length of 0 would mean all bytes
  const GenerationLock file(open_or_make(path));
  struct flock range = bytes(F_WRLCK, first, end - first);
  if (file.descriptor_ < 0 || ::fcntl(file.descriptor_, F_OFD_GETLK, &range) != 0) {
    throw Error(ErrorCode::kIo, "cannot ask for locks of ", path.string(), ": ",
                std::strerror(errno));
  }
  return range.l_type != F_UNLCK;
}

}  // namespace msa
