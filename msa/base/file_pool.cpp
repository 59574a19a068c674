#include "msa/base/file_pool.h"

#include <sys/resource.h>

#include <algorithm>

#include "msa/base/error.h"

namespace msa {

size_t share_of_descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = 0;
  return std::clamp<size_t>(limit.rlim_cur / 4, 8, 256);
}

FilePool::FilePool(FileSystem& files, size_t max_open) : files_(files), max_open_(max_open) {
  MSA_CHECK(max_open > 0, "a pool must hold a file at least");
}

FilePool::Opened FilePool::open(const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(open_.begin(), open_.end(), [&](const Opened& opened) {
    return opened.file->path().native() == path.native();
  });
  if (found != open_.end()) {
    std::rotate(open_.begin(), found, found + 1);
    return open_.front();
  }
  if (open_.size() == max_open_) open_.pop_back();
  open_.insert(open_.begin(), {.file = files_.open_to_read(path), .opening = ++num_openings_});
  return open_.front();
}

}  // namespace msa
