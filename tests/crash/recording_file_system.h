#pragma once
// The real file system with every change recorded, and calls failed on demand.

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/file_system.h"
#include "tests/crash/disk_recorder.h"

namespace msa::crash {

/// `recorder` must outlive it and its files.
class RecordingFileSystem final : public FileSystem {
 public:
  explicit RecordingFileSystem(DiskRecorder& recorder) : recorder_(recorder) {}

  std::unique_ptr<File> open_to_read(const std::filesystem::path& path) override {
    before("open", path);
    const int number = recorder_.find(path).value_or(-1);  // it may be synced
    return std::make_unique<RecordingFile>(*this, real().open_to_read(path), number);
  }
  std::unique_ptr<File> create(const std::filesystem::path& path) override {
    before("create", path);
    auto file = real().create(path);
    const int number = recorder_.created(path);
    return std::make_unique<RecordingFile>(*this, std::move(file), number);
  }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    before("rename", to);
    real().rename(from, to);
    recorder_.renamed(from, to);
  }
  void remove(const std::filesystem::path& path) override {
    before("remove", path);
    real().remove(path);
    recorder_.removed(path);
  }
  void create_directory(const std::filesystem::path& path) override {
    before("create folder", path);
    const bool is_there = real().exists(path);
    real().create_directory(path);
    if (!is_there) recorder_.changed_folder(DiskEvent::Kind::kCreateFolder, path);
  }
  void remove_directory(const std::filesystem::path& path) override {
    before("remove folder", path);
    real().remove_directory(path);
    recorder_.changed_folder(DiskEvent::Kind::kRemoveFolder, path);
  }
  void sync_directory(const std::filesystem::path& path) override {
    before("sync folder", path);
    real().sync_directory(path);
    recorder_.changed_folder(DiskEvent::Kind::kSyncFolder, path);
  }
  bool exists(const std::filesystem::path& path) override { return real().exists(path); }
  std::vector<std::string> list(const std::filesystem::path& path) override {
    before("list", path);
    return real().list(path);
  }
  uint64_t free_bytes(const std::filesystem::path& path) override {
    return real().free_bytes(path);
  }

 private:
  class RecordingFile final : public File {
   public:
    RecordingFile(RecordingFileSystem& owner, std::unique_ptr<File> file, int number)
        : owner_(owner), file_(std::move(file)), number_(number) {}

    void read_at(uint64_t offset, std::span<std::byte> out) const override {
      owner_.before("read", path());
      file_->read_at(offset, out);
    }
    void append(std::span<const std::byte> bytes) override {
      owner_.before("write", path());
      const uint64_t offset = file_->size();
      file_->append(bytes);
      owner_.recorder_.wrote(number_, path(), offset, bytes);
    }
    void sync() override {
      try {
        owner_.before("sync", path());
      } catch (const Error&) {
        owner_.recorder_.synced(number_, path(), false);
        throw;
      }
      file_->sync();
      owner_.recorder_.synced(number_, path(), true);
    }
    uint64_t size() const override { return file_->size(); }
    const std::filesystem::path& path() const override { return file_->path(); }

   private:
    RecordingFileSystem& owner_;
    std::unique_ptr<File> file_;
    int number_;
  };

  static FileSystem& real() { return real_file_system(); }

  void before(std::string_view name, const std::filesystem::path& path) const {
    const int error = recorder_.fault({.name = name, .path = path});
    if (error == 0) return;
    throw Error(error == ENOSPC ? ErrorCode::kNoSpace : ErrorCode::kIo, "cannot ", name, " ",
                path.string(), " (test): ", std::strerror(error));
  }

  DiskRecorder& recorder_;
};

}  // namespace msa::crash
