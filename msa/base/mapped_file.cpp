#include "msa/base/mapped_file.h"

#include <sys/mman.h>

#include <cerrno>
#include <system_error>

#include "msa/base/error.h"

namespace msa {

std::unique_ptr<MappedFile> MappedFile::open(FileSystem& files, const std::filesystem::path& path) {
  const auto file = files.open_to_read(path);
  std::unique_ptr<MappedFile> mapped(new MappedFile);
  const auto size = static_cast<size_t>(file->size());
  if (size == 0) return mapped;
  if (file->descriptor() < 0) {
    mapped->copy_ = std::make_unique<std::byte[]>(size);
    const std::span<std::byte> bytes(mapped->copy_.get(), size);
    file->read_at(0, bytes);
    mapped->bytes_ = bytes;
    return mapped;
  }
  void* place = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file->descriptor(), 0);
  if (place == MAP_FAILED) {
    throw Error(ErrorCode::kIo, "cannot map ", path.string(), ": ",
                std::generic_category().message(errno));
  }
  mapped->bytes_ = {static_cast<const std::byte*>(place), size};
  return mapped;
}

MappedFile::~MappedFile() {
  if (!copy_ && !bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace msa
