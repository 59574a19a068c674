#include "tests/crash/disk_recorder.h"

#include <algorithm>
#include <utility>

namespace msa::crash {
namespace {

std::filesystem::path normal(const std::filesystem::path& path) {
  return std::filesystem::absolute(path).lexically_normal();
}

}  // namespace

DiskRecorder::DiskRecorder(const std::filesystem::path& root, std::map<std::string, int> files)
    : root_(normal(root)), files_(std::move(files)) {
  for (const auto& [path, file] : files_) next_file_ = std::max(next_file_, file + 1);
}

std::string DiskRecorder::relative(const std::filesystem::path& path) const {
  std::string text = normal(path).lexically_relative(root_).generic_string();
  while (text.ends_with('/')) text.pop_back();
  return text == "." ? "" : text;
}

void DiskRecorder::add(DiskEvent event) {
  if (!is_paused_) events_.push_back(std::move(event));
}

std::optional<int> DiskRecorder::find(const std::filesystem::path& path) const {
  const auto found = files_.find(relative(path));
  if (found == files_.end()) return std::nullopt;
  return found->second;
}

int DiskRecorder::created(const std::filesystem::path& path) {
  const std::string name = relative(path);
  if (const auto known = files_.find(name); known != files_.end()) {
    truncated(known->second, path, 0);
    return known->second;
  }
  const int file = next_file_++;
  files_[name] = file;
  add({.kind = DiskEvent::Kind::kCreate, .file = file, .path = name});
  return file;
}

void DiskRecorder::wrote(int file, const std::filesystem::path& path, uint64_t offset,
                         std::span<const std::byte> bytes) {
  add({.kind = DiskEvent::Kind::kWrite,
       .file = file,
       .offset = offset,
       .path = relative(path),
       .bytes = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())});
}

void DiskRecorder::truncated(int file, const std::filesystem::path& path, uint64_t size) {
  add({.kind = DiskEvent::Kind::kTruncate, .file = file, .offset = size, .path = relative(path)});
}

void DiskRecorder::synced(int file, const std::filesystem::path& path, bool is_done) {
  add({.kind = is_done ? DiskEvent::Kind::kSync : DiskEvent::Kind::kFailedSync,
       .file = file,
       .path = relative(path)});
}

void DiskRecorder::renamed(const std::filesystem::path& from, const std::filesystem::path& to) {
  const std::string old_name = relative(from);
  const std::string new_name = relative(to);
  const auto known = files_.find(old_name);
  if (known != files_.end()) {
    files_[new_name] = known->second;
    files_.erase(old_name);
  }
  add({.kind = DiskEvent::Kind::kRename, .path = old_name, .to = new_name});
}

void DiskRecorder::removed(const std::filesystem::path& path) {
  files_.erase(relative(path));
  add({.kind = DiskEvent::Kind::kRemove, .path = relative(path)});
}

void DiskRecorder::changed_folder(DiskEvent::Kind kind, const std::filesystem::path& path) {
  add({.kind = kind, .path = relative(path)});
}

std::string to_string(const DiskEvent& event) {
  switch (event.kind) {
    case DiskEvent::Kind::kCreate:
      return "create " + event.path;
    case DiskEvent::Kind::kWrite:
      return "write " + event.path + " " + std::to_string(event.offset) + " +" +
             std::to_string(event.bytes.size());
    case DiskEvent::Kind::kTruncate:
      return "truncate " + event.path + " " + std::to_string(event.offset);
    case DiskEvent::Kind::kSync:
      return "sync " + event.path;
    case DiskEvent::Kind::kFailedSync:
      return "failed sync " + event.path;
    case DiskEvent::Kind::kRename:
      return "rename " + event.path + " " + event.to;
    case DiskEvent::Kind::kRemove:
      return "remove " + event.path;
    case DiskEvent::Kind::kCreateFolder:
      return "create folder " + event.path;
    case DiskEvent::Kind::kRemoveFolder:
      return "remove folder " + event.path;
    case DiskEvent::Kind::kSyncFolder:
      return "sync folder " + event.path;
  }
  return "";
}

}  // namespace msa::crash
