#pragma once
// A file system that loses power at a given call, and then what was not synced: for tests.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/file_system.h"

namespace msa {

/// The real file system until the power goes. One thread at a time.
class LosingFileSystem final : public FileSystem {
 public:
  struct PowerLoss {};

  /// What `lose` takes back.
  enum class Lost {
    kNothing,
    kBytes,  // appended to files that were not synced after it
    kNames,  // files, folders and renames whose folder was not synced after them
    kAll,
    kSome,  // of both what a seed draws: the last names, and bytes from some place on, which are
            // cut off or zeros
  };

  /// Every call after the first `good_calls` that change something throws PowerLoss.
  explicit LosingFileSystem(int64_t good_calls) : left_(good_calls) {}

  bool has_lost_power() const { return left_ < 0; }

  void lose(Lost lost, uint64_t seed = 0) {
    if (lost == Lost::kSome) {
      lose_some(seed);
      return;
    }
    if (lost == Lost::kBytes || lost == Lost::kAll) {
      for (const auto& [path, size] : synced_sizes_) {
        if (std::filesystem::exists(path)) std::filesystem::resize_file(path, size);
      }
    }
    if (lost == Lost::kNames || lost == Lost::kAll) {
      for (auto it = names_.rbegin(); it != names_.rend(); ++it) it->undo();
    }
  }

  std::unique_ptr<File> open_to_read(const std::filesystem::path& path) override {
    return std::make_unique<LosingFile>(*this, real_file_system().open_to_read(path));
  }
  std::unique_ptr<File> create(const std::filesystem::path& path) override {
    spend();
    auto file = real_file_system().create(path);
    synced_sizes_[path.string()] = 0;
    names_.push_back({path.parent_path(), [path] { std::filesystem::remove(path); }});
    return std::make_unique<LosingFile>(*this, std::move(file));
  }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    spend();
    real_file_system().rename(from, to);
    std::map<std::string, uint64_t> sizes;
    for (const auto& [path, size] : synced_sizes_) {
      const bool is_inside = path.starts_with(from.string());
      sizes[is_inside ? to.string() + path.substr(from.string().size()) : path] = size;
    }
    synced_sizes_ = sizes;
    names_.push_back({to.parent_path(), [from, to] {
                        if (std::filesystem::exists(to)) std::filesystem::rename(to, from);
                      }});
  }
  void remove(const std::filesystem::path& path) override {
    spend();
    real_file_system().remove(path);
    synced_sizes_.erase(path.string());
  }
  void create_directory(const std::filesystem::path& path) override {
    spend();
    const bool is_new = !exists(path);
    real_file_system().create_directory(path);
    if (!is_new) return;
    names_.push_back({path.parent_path(), [path] { std::filesystem::remove_all(path); }});
  }
  void remove_directory(const std::filesystem::path& path) override {
    spend();
    real_file_system().remove_directory(path);
  }
  void sync_directory(const std::filesystem::path& path) override {
    spend();
    std::erase_if(names_, [&](const Name& name) { return name.folder == path; });
  }
  bool exists(const std::filesystem::path& path) override {
    return real_file_system().exists(path);
  }
  std::vector<std::string> list(const std::filesystem::path& path) override {
    return real_file_system().list(path);
  }
  uint64_t free_bytes(const std::filesystem::path& path) override {
    return real_file_system().free_bytes(path);
  }

 private:
  struct Name {
    std::filesystem::path folder;
    std::function<void()> undo;
  };

  class LosingFile final : public File {
   public:
    LosingFile(LosingFileSystem& owner, std::unique_ptr<File> file)
        : owner_(owner), file_(std::move(file)) {}
    void read_at(uint64_t offset, std::span<std::byte> out) const override {
      file_->read_at(offset, out);
    }
    void append(std::span<const std::byte> bytes) override {
      owner_.spend();
      file_->append(bytes);
    }
    void sync() override {
      owner_.spend();
      owner_.synced_sizes_[path().string()] = file_->size();
    }
    uint64_t size() const override { return file_->size(); }
    const std::filesystem::path& path() const override { return file_->path(); }

   private:
    LosingFileSystem& owner_;
    std::unique_ptr<File> file_;
  };

  void lose_some(uint64_t seed) {
    std::mt19937_64 random(seed);
    for (const auto& [path, synced] : synced_sizes_) {
      if (!std::filesystem::exists(path)) continue;
      const uint64_t size = std::filesystem::file_size(path);
      if (size == synced) continue;
      std::filesystem::resize_file(path, synced + random() % (size - synced));
      if (random() % 2 == 0) std::filesystem::resize_file(path, size);
    }
    const size_t num_lost = random() % (names_.size() + 1);
    for (size_t i = 0; i < num_lost; ++i) names_[names_.size() - 1 - i].undo();
  }

  void spend() {
    if (left_-- > 0) return;
    left_ = -1;
    throw PowerLoss();
  }

  int64_t left_;
  std::map<std::string, uint64_t> synced_sizes_;  // of files that were created
  std::vector<Name> names_;                       // that are not durable yet, in order
};

}  // namespace msa
