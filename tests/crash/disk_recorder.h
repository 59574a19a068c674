#pragma once
// What a program asked of the disk, call by call, and a word before each call that can fail it.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace msa::crash {

/// One call that changed something. Paths are relative to the recorded folder, "" is the folder
/// itself. A file keeps its number whatever it is called.
struct DiskEvent {
  enum class Kind {
    kCreate,        // path, file
    kWrite,         // file, offset, bytes
    kTruncate,      // file, offset: the new size
    kSync,          // file: data and size, not its name
    kFailedSync,    // file: nothing written before it is ever vouched for
    kRename,        // path, to
    kRemove,        // path
    kCreateFolder,  // path
    kRemoveFolder,  // path
    kSyncFolder,    // path: the names in it
  };
  Kind kind = Kind::kSync;
  int file = -1;
  uint64_t offset = 0;
  std::string path{};  // of the file when it was opened, for kWrite to kFailedSync
  std::string to{};
  std::string bytes{};
};

/// A call about to be made: one of "open", "create", "read", "write", "truncate", "sync", "rename",
/// "remove", "create folder", "remove folder", "sync folder", "list", "size", "lock", "map".
struct DiskCall {
  std::string_view name;
  std::filesystem::path path;
  bool is_of_sqlite = false;
};

/// Collects events for RecordingFileSystem and RecordingVfs. One thread.
class DiskRecorder {
 public:
  /// What the call fails with instead of being made: an errno value, 0 for none. A "sync" that
  /// fails, fails for good: see kFailedSync.
  using Fault = std::function<int(const DiskCall& call)>;

  /// `files` are those that are there already, by their path relative to `root`.
  explicit DiskRecorder(const std::filesystem::path& root, std::map<std::string, int> files = {});

  void set_fault(Fault fault) { fault_ = std::move(fault); }
  int fault(const DiskCall& call) const { return fault_ ? fault_(call) : 0; }

  /// Nothing is recorded meanwhile: for calls of which `Fault` lets none reach the disk.
  void set_paused(bool is_paused) { is_paused_ = is_paused; }

  const std::vector<DiskEvent>& events() const { return events_; }
  std::vector<DiskEvent> take_events() { return std::move(events_); }

  /// The number of the file of that name, if it is within the recorded folder.
  std::optional<int> find(const std::filesystem::path& path) const;

  /// Each is called once the disk has done it.
  int created(const std::filesystem::path& path);
  void wrote(int file, const std::filesystem::path& path, uint64_t offset,
             std::span<const std::byte> bytes);
  void truncated(int file, const std::filesystem::path& path, uint64_t size);
  void synced(int file, const std::filesystem::path& path, bool is_done);
  void renamed(const std::filesystem::path& from, const std::filesystem::path& to);
  void removed(const std::filesystem::path& path);
  void changed_folder(DiskEvent::Kind kind, const std::filesystem::path& path);

 private:
  std::string relative(const std::filesystem::path& path) const;
  void add(DiskEvent event);

  std::filesystem::path root_;
  std::map<std::string, int> files_;
  int next_file_ = 0;
  Fault fault_;
  bool is_paused_ = false;
  std::vector<DiskEvent> events_;
};

/// A line for people: "write bank/catalog.db-wal 32 +24".
std::string to_string(const DiskEvent& event);

}  // namespace msa::crash
