#pragma once
// The real file system with a word before every call: what tests record, stop or fail it with.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "msa/base/file_system.h"

namespace msa {

/// Calls the observer before each call that reaches the disk, then makes it. What the observer
/// throws is what the call throws; nothing has been done then.
class ObservedFileSystem : public FileSystem {
 public:
  /// The call is "open", "read", "create", "append", "sync", "rename" (with the new path),
  /// "remove", "create folder", "remove folder", "sync folder" or "list".
  using Observer = std::function<void(std::string_view call, const std::filesystem::path& path)>;

  explicit ObservedFileSystem(Observer observer) : observer_(std::move(observer)) {}

  std::unique_ptr<File> open_to_read(const std::filesystem::path& path) override {
    observer_("open", path);
    return std::make_unique<ObservedFile>(observer_, real().open_to_read(path));
  }
  std::unique_ptr<File> create(const std::filesystem::path& path) override {
    observer_("create", path);
    return std::make_unique<ObservedFile>(observer_, real().create(path));
  }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    observer_("rename", to);
    real().rename(from, to);
  }
  void remove(const std::filesystem::path& path) override {
    observer_("remove", path);
    real().remove(path);
  }
  void create_directory(const std::filesystem::path& path) override {
    observer_("create folder", path);
    real().create_directory(path);
  }
  void remove_directory(const std::filesystem::path& path) override {
    observer_("remove folder", path);
    real().remove_directory(path);
  }
  void sync_directory(const std::filesystem::path& path) override {
    observer_("sync folder", path);
    real().sync_directory(path);
  }
  bool exists(const std::filesystem::path& path) override { return real().exists(path); }
  std::vector<std::string> list(const std::filesystem::path& path) override {
    observer_("list", path);
    return real().list(path);
  }
  uint64_t free_bytes(const std::filesystem::path& path) override {
    return real().free_bytes(path);
  }

 private:
  class ObservedFile final : public File {
   public:
    ObservedFile(const Observer& observer, std::unique_ptr<File> file)
        : observer_(observer), file_(std::move(file)) {}
    void read_at(uint64_t offset, std::span<std::byte> out) const override {
      observer_("read", path());
      file_->read_at(offset, out);
    }
    void append(std::span<const std::byte> bytes) override {
      observer_("append", path());
      file_->append(bytes);
    }
    void sync() override {
      observer_("sync", path());
      file_->sync();
    }
    uint64_t size() const override { return file_->size(); }
    const std::filesystem::path& path() const override { return file_->path(); }

   private:
    const Observer& observer_;
    std::unique_ptr<File> file_;
  };

  static FileSystem& real() { return real_file_system(); }

  Observer observer_;
};

}  // namespace msa
