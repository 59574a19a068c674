#pragma once
// Files that are encrypted at rest. docs/format/bank.md describes every byte of them.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/storage/cipher.h"
#include "msa/storage/page_vfs.h"

namespace msa::storage {

/// Bytes of a key file. Throws Error(kInvalidArgument) if it has fewer than 32 or more than 4,096
/// bytes, or others than its owner may read it.
std::vector<std::byte> read_key_file(const std::filesystem::path& path);

/// Throws Error(kInvalidArgument) if the folder is encrypted and `files` have no key, or the other
/// way round.
void expect_key_fits(FileSystem& files, const std::filesystem::path& folder);

/// A folder whose segments (*.msa) and databases are encrypted under one key; other files, which
/// hold nothing secret, are as they are. What is not as it was written, or is of another place or
/// key, is refused by authentication: Error(kCorruption); not so an older state of a file, or of
/// a page of a database. Must outlive what was opened through it.
class EncryptedFiles final : public FileSystem {
 public:
  /// The file in a folder that says that, and how, the folder is encrypted.
  static constexpr const char* kFile = "encryption";

  /// `folder` is made, with that file, if it is not there or empty. Throws Error(kMismatch) if the
  /// secret is not that of the folder, Error(kInvalidArgument) if the folder is not encrypted,
  /// Error(kLocked) if another process makes a bank there.
  static std::unique_ptr<EncryptedFiles> create(FileSystem& files,
                                                const std::filesystem::path& folder,
                                                std::span<const std::byte> secret);

  /// The same of a folder that is there. Throws Error(kNotFound) if it is not.
  static std::unique_ptr<EncryptedFiles> open(FileSystem& files,
                                              const std::filesystem::path& folder,
                                              std::span<const std::byte> secret);

  std::unique_ptr<File> open_to_read(const std::filesystem::path& path) override;
  std::unique_ptr<File> create(const std::filesystem::path& path) override;
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    files_.rename(from, to);
  }
  void remove(const std::filesystem::path& path) override { files_.remove(path); }
  void create_directory(const std::filesystem::path& path) override {
    files_.create_directory(path);
  }
  void remove_directory(const std::filesystem::path& path) override {
    files_.remove_directory(path);
  }
  void sync_directory(const std::filesystem::path& path) override { files_.sync_directory(path); }
  bool exists(const std::filesystem::path& path) override { return files_.exists(path); }
  std::vector<std::string> list(const std::filesystem::path& path) override {
    return files_.list(path);
  }
  uint64_t free_bytes(const std::filesystem::path& path) override {
    return files_.free_bytes(path);
  }
  const char* database_vfs() const override { return vfs_.name(); }

 private:
  EncryptedFiles(FileSystem& files, const CipherKey& key);

  FileSystem& files_;
  CipherKey key_;  // of which those of files are derived
  PageVfs vfs_;
};

}  // namespace msa::storage
