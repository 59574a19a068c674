#pragma once
// The only way to the disk: an interface, so that tests can lose writes, fail calls and fill the
// disk.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace msa {

/// An open file. read_at and descriptor may be called from several threads at once; the rest from
/// one.
class File {
 public:
  virtual ~File() = default;

  /// Fills `out` from `offset`. Throws Error(kCorruption) if the file ends before, Error(kIo) if
  /// the read fails.
  virtual void read_at(uint64_t offset, std::span<std::byte> out) const = 0;

  /// Adds bytes at the end. Throws Error(kNoSpace) or Error(kIo); the file may then hold a part of
  /// them.
  virtual void append(std::span<const std::byte> bytes) = 0;

  /// Returns when everything appended is on stable storage.
  virtual void sync() = 0;

  /// Bytes in the file now.
  virtual uint64_t size() const = 0;

  virtual const std::filesystem::path& path() const = 0;

  /// The system's number of the open file, for BatchReader alone. -1: read_at is the only way.
  virtual int descriptor() const { return -1; }
};

/// All calls throw Error(kNotFound), Error(kNoSpace) or Error(kIo) with the path and the system's
/// reason. Safe to call from several threads.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual std::unique_ptr<File> open_to_read(const std::filesystem::path& path) = 0;

  /// A new empty file, readable and writable by the owner only; an existing one is emptied.
  virtual std::unique_ptr<File> create(const std::filesystem::path& path) = 0;

  /// Replaces `to`. Durable once sync_directory has returned for its folder.
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  virtual void remove(const std::filesystem::path& path) = 0;
  virtual void create_directory(const std::filesystem::path& path) = 0;

  /// An empty one.
  virtual void remove_directory(const std::filesystem::path& path) = 0;
  virtual void sync_directory(const std::filesystem::path& path) = 0;

  virtual bool exists(const std::filesystem::path& path) = 0;

  /// Names in a folder, sorted by byte value.
  virtual std::vector<std::string> list(const std::filesystem::path& path) = 0;

  /// Bytes that an unprivileged process may still write to the volume of `path`.
  virtual uint64_t free_bytes(const std::filesystem::path& path) = 0;

  /// The SQLite VFS through which databases are opened; null: SQLite's own.
  virtual const char* database_vfs() const { return nullptr; }
};

/// The operating system's own. Lives as long as the process.
FileSystem& real_file_system();

/// The whole file as bytes. Throws Error(kLimit) before reading if it holds more than `max_bytes`.
std::string read_file(FileSystem& files, const std::filesystem::path& path, uint64_t max_bytes);

/// Publishes a file all or nothing: `write` fills a temporary file beside it, which is synced and
/// renamed, and the folder synced. A temporary file that does not get that far is removed.
void write_file_atomically(FileSystem& files, const std::filesystem::path& path,
                           const std::function<void(File&)>& write);

/// The same for a file of these bytes.
void write_file_atomically(FileSystem& files, const std::filesystem::path& path,
                           std::span<const std::byte> bytes);

}  // namespace msa
