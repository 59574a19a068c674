#pragma once
// What may be on a disk after the power went: what was synced, and any part of what was not.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "msa/storage/digest.h"
#include "tests/crash/disk_recorder.h"

namespace msa::crash {

/// How a power loss treats what was not synced.
struct Loss {
  double kept_bytes = 0;     // chance of a piece of a write, and of a truncation
  double kept_names = 0;     // chance of the last state of a name; else any of its states
  uint64_t grain_bytes = 0;  // of a torn write; 0: a write is kept or lost as a whole
  bool has_noise = false;    // where a file grew and bytes were lost: any bytes, else zeros
  bool is_in_order = false;  // all up to a moment is kept, the call of that moment is torn
};

/// Variant 0 loses all, 1 keeps all (a kill); the others are drawn.
Loss draw_loss(int variant, std::mt19937_64& random);

/// A folder under POSIX, and what of it is durable:
/// - A file's sync makes its bytes and size durable, not its name. A folder's sync makes the names
///   in it durable: those that were made, and that others are gone.
/// - Un-synced writes and truncations reach the disk in any order, each piece of a write by itself.
///   What was synced stays; bytes outside of a write never change (SQLite calls this powersafe
///   overwrite).
/// - Un-synced names reach the disk in any order, each by itself, those of one folder too. A rename
///   is atomic: a name that it replaces is the old file or the new one, and the file is never
///   without a name. Between folders it may be seen under both names.
/// - After a failed sync, what was written before it may or may not be on the disk; no later sync
///   changes that.
/// Folders are not renamed.
class DiskModel {
 public:
  void apply(const DiskEvent& event);

  /// The disk when it is back: all of it is durable.
  DiskModel after_power_loss(const Loss& loss, std::mt19937_64& random) const;

  /// Writes it into an empty folder. Names that it does not hold are those that are not there.
  void write_to(const std::filesystem::path& folder) const;

  /// Over all that is durable: equal for equal disks.
  storage::Digest digest() const;

  /// By path.
  std::map<std::string, int> files() const;

 private:
  struct Change {
    enum class State { kPending, kDoubtful, kDurable };
    bool is_truncation = false;
    uint64_t offset = 0;  // or the new size
    std::string bytes{};
    size_t moment = 0;
    State state = State::kPending;
  };
  struct Content {
    std::string durable;
    std::vector<Change> changes;  // on top of it, in order
  };
  static constexpr int kFolder = -2;
  struct NameChange {
    std::optional<int> target{};  // a file, kFolder or nothing
    size_t moment = 0;
    std::string moved_to{};  // of a rename that took the name away
    std::string moved_from{};
  };
  struct Name {
    std::optional<int> durable;
    std::vector<NameChange> changes;
  };

  std::optional<int> now(const std::string& path) const;
  void change_name(const std::string& path, NameChange change);
  void sync(Content& content);
  std::map<std::string, size_t> draw_names(const Loss& loss, size_t end,
                                           std::mt19937_64& random) const;
  void keep_renames_atomic(std::map<std::string, size_t>& chosen) const;

  size_t moment_ = 0;
  std::map<int, Content> contents_;
  std::map<std::string, Name> names_;
};

}  // namespace msa::crash
