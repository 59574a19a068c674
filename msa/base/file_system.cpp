#include "msa/base/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "msa/base/error.h"

namespace msa {
namespace {

[[noreturn]] void throw_errno(const char* what, const std::filesystem::path& path, int error) {
  ErrorCode code = ErrorCode::kIo;
  if (error == ENOENT || error == ENOTDIR) code = ErrorCode::kNotFound;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) code = ErrorCode::kNoSpace;
  throw Error(code, "cannot ", what, " ", path.string(), ": ", std::strerror(error));
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

int open_retrying(const std::filesystem::path& path, int flags, mode_t mode) {
  int descriptor = -1;
  do {
    descriptor = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

class RealFile final : public File {
 public:
  RealFile(std::filesystem::path path, Descriptor descriptor)
      : path_(std::move(path)), descriptor_(std::move(descriptor)) {}

  void read_at(uint64_t offset, std::span<std::byte> out) const override {
    size_t done = 0;
    while (done < out.size()) {
      const ssize_t count = ::pread(descriptor_.get(), out.data() + done, out.size() - done,
                                    static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw_errno("read", path_, errno);
      if (count == 0) {
        throw Error(ErrorCode::kCorruption, path_.string(), " ends at byte ", offset + done, ", ",
                    out.size() - done, " more were expected");
      }
      done += static_cast<size_t>(count);
    }
  }

  void append(std::span<const std::byte> bytes) override {
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t count = ::write(descriptor_.get(), bytes.data() + done, bytes.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw_errno("write", path_, errno);
      done += static_cast<size_t>(count);
    }
  }

  void sync() override {
    if (::fsync(descriptor_.get()) != 0) throw_errno("sync", path_, errno);
  }

  uint64_t size() const override {
    struct stat status {};
    if (::fstat(descriptor_.get(), &status) != 0) throw_errno("stat", path_, errno);
    return static_cast<uint64_t>(status.st_size);
  }

  const std::filesystem::path& path() const override { return path_; }

  int descriptor() const override { return descriptor_.get(); }

 private:
  std::filesystem::path path_;
  Descriptor descriptor_;
};

class RealFileSystem final : public FileSystem {
 public:
  std::unique_ptr<File> open_to_read(const std::filesystem::path& path) override {
    Descriptor descriptor(open_retrying(path, O_RDONLY, 0));
    if (descriptor.get() < 0) throw_errno("open", path, errno);
    struct stat status {};
    if (::fstat(descriptor.get(), &status) != 0) throw_errno("stat", path, errno);
    if (S_ISDIR(status.st_mode)) throw_errno("open", path, EISDIR);
    return std::make_unique<RealFile>(path, std::move(descriptor));
  }

  std::unique_ptr<File> create(const std::filesystem::path& path) override {
    Descriptor descriptor(open_retrying(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600));
    if (descriptor.get() < 0) throw_errno("create", path, errno);
    struct stat status {};
    if (::fstat(descriptor.get(), &status) != 0) throw_errno("stat", path, errno);
    const bool is_open_to_others = S_ISREG(status.st_mode) && (status.st_mode & 0077) != 0;
    if (is_open_to_others && ::fchmod(descriptor.get(), 0600) != 0) {
      throw_errno("restrict", path, errno);
    }
    return std::make_unique<RealFile>(path, std::move(descriptor));
  }

  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) throw_errno("rename", from, errno);
  }

  void remove(const std::filesystem::path& path) override {
    if (::unlink(path.c_str()) != 0) throw_errno("remove", path, errno);
  }

  void create_directory(const std::filesystem::path& path) override {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) throw_errno("create", path, errno);
  }

  void remove_directory(const std::filesystem::path& path) override {
    if (::rmdir(path.c_str()) != 0) throw_errno("remove", path, errno);
  }

  void sync_directory(const std::filesystem::path& path) override {
    const Descriptor folder(open_retrying(path, O_RDONLY | O_DIRECTORY, 0));
    if (folder.get() < 0) throw_errno("open", path, errno);
    if (::fsync(folder.get()) != 0) throw_errno("sync", path, errno);
  }

  bool exists(const std::filesystem::path& path) override {
    std::error_code error;
    return std::filesystem::exists(path, error);
  }

  std::vector<std::string> list(const std::filesystem::path& path) override {
    // Not std::filesystem's iterator, which ends the process where memory ends.
    const std::unique_ptr<DIR, CloseFolder> folder(::opendir(path.c_str()));
    if (!folder) throw_errno("list", path, errno);
    std::vector<std::string> names;
    for (errno = 0; const dirent* entry = ::readdir(folder.get()); errno = 0) {
      const std::string_view name(entry->d_name);
      if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) throw_errno("list", path, errno);
    std::sort(names.begin(), names.end());
    return names;
  }

  uint64_t free_bytes(const std::filesystem::path& path) override {
    struct statvfs status {};
    if (::statvfs(path.c_str(), &status) != 0) throw_errno("stat", path, errno);
    return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  }
};

}  // namespace

FileSystem& real_file_system() {
  static RealFileSystem files;
  return files;
}

std::string read_file(FileSystem& files, const std::filesystem::path& path, uint64_t max_bytes) {
  const auto file = files.open_to_read(path);
  const uint64_t size = file->size();
  if (size > max_bytes) {
    throw Error(ErrorCode::kLimit, path.string(), " holds ", size, " bytes, at most ", max_bytes,
                " are accepted");
  }
  std::string bytes(size, '\0');
  file->read_at(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

void write_file_atomically(FileSystem& files, const std::filesystem::path& path,
                           const std::function<void(File&)>& write) {
  const std::filesystem::path temporary = path.string() + ".tmp";
  auto file = files.create(temporary);
  try {
    write(*file);
    file->sync();
    file.reset();
    files.rename(temporary, path);
  } catch (...) {
    try {
      files.remove(temporary);
    } catch (const Error&) {
      // What stopped the write is what the caller must know.
    }
    throw;
  }
  files.sync_directory(path.has_parent_path() ? path.parent_path() : ".");
}

void write_file_atomically(FileSystem& files, const std::filesystem::path& path,
                           std::span<const std::byte> bytes) {
  write_file_atomically(files, path, [&](File& file) { file.append(bytes); });
}

}  // namespace msa
