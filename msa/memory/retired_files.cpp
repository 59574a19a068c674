#include "msa/memory/retired_files.h"

#include <utility>

#include "msa/base/error.h"
#include "msa/base/generation_lock.h"
#include "msa/memory/bank.h"

namespace msa::memory {

RetiredFiles::RetiredFiles(FileSystem& files, std::filesystem::path folder)
    : files_(files), folder_(std::move(folder)) {}

void RetiredFiles::add(const std::string& name, int64_t first, int64_t end) {
  std::error_code error;
  const auto size = std::filesystem::file_size(folder_ / "segments" / name, error);
  retired_.push_back({name, first, end, error ? 0 : static_cast<int64_t>(size)});
}

void RetiredFiles::remove_unneeded() {
  std::erase_if(retired_, [this](const Retired& file) { return is_gone(file); });
}

bool RetiredFiles::is_gone(const Retired& file) const {
  try {
    const auto readers = folder_ / Bank::kReadersFile;
    if (GenerationLock::is_held(readers, file.first, file.end)) return false;
    files_.remove(folder_ / "segments" / file.name);
    return true;
  } catch (const Error& error) {
    return error.code() == ErrorCode::kNotFound;
  }
}

int64_t RetiredFiles::num_bytes() const {
  int64_t sum = 0;
  for (const Retired& file : retired_) sum += file.num_bytes;
  return sum;
}

}  // namespace msa::memory
