#pragma once
// Files in memory: a reader under test gets its bytes without a disk.

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/file_system.h"

namespace msa {

/// Folders are there if a file is in them. One thread at a time, but for read_at.
class MemoryFiles final : public FileSystem {
 public:
  void put(const std::filesystem::path& path, std::string bytes) {
    contents_[path.string()] = std::make_shared<std::string>(std::move(bytes));
  }
  const std::string& at(const std::filesystem::path& path) const {
    return *contents_.at(path.string());
  }

  std::unique_ptr<File> open_to_read(const std::filesystem::path& path) override {
    const auto found = contents_.find(path.string());
    if (found == contents_.end()) {
      throw Error(ErrorCode::kNotFound, "cannot open ", path.string(), ": there is no such file");
    }
    return std::make_unique<MemoryFile>(path, found->second);
  }
  std::unique_ptr<File> create(const std::filesystem::path& path) override {
    put(path, "");
    return open_to_read(path);
  }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    contents_[to.string()] = contents_.at(from.string());
    contents_.erase(from.string());
  }
  void remove(const std::filesystem::path& path) override { contents_.erase(path.string()); }
  void create_directory(const std::filesystem::path&) override {}
  void remove_directory(const std::filesystem::path&) override {}
  void sync_directory(const std::filesystem::path&) override {}
  bool exists(const std::filesystem::path& path) override {
    return contents_.contains(path.string());
  }
  std::vector<std::string> list(const std::filesystem::path& folder) override {
    std::vector<std::string> names;
    for (const auto& [path, bytes] : contents_) {
      const std::filesystem::path file(path);
      if (file.parent_path() == folder) names.push_back(file.filename().string());
    }
    return names;
  }
  uint64_t free_bytes(const std::filesystem::path&) override {
    return std::numeric_limits<uint64_t>::max();
  }

 private:
  class MemoryFile final : public File {
   public:
    MemoryFile(std::filesystem::path path, std::shared_ptr<std::string> bytes)
        : path_(std::move(path)), bytes_(std::move(bytes)) {}

    void read_at(uint64_t offset, std::span<std::byte> out) const override {
      if (offset > bytes_->size() || out.size() > bytes_->size() - offset) {
        throw Error(ErrorCode::kCorruption, path_.string(), " ends at byte ", bytes_->size(), ", ",
                    out.size(), " from ", offset, " were expected");
      }
      if (!out.empty()) std::memcpy(out.data(), bytes_->data() + offset, out.size());
    }
    void append(std::span<const std::byte> bytes) override {
      bytes_->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    void sync() override {}
    uint64_t size() const override { return bytes_->size(); }
    const std::filesystem::path& path() const override { return path_; }

   private:
    std::filesystem::path path_;
    std::shared_ptr<std::string> bytes_;  // shared: a file that is replaced stays readable
  };

  std::map<std::string, std::shared_ptr<std::string>> contents_;
};

}  // namespace msa
