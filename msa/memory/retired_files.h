#pragma once
// Segment files that no row names any more: they go once no reader needs them.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "msa/base/file_system.h"

namespace msa::memory {

/// Of one bank, under its writer's lock. Not for use by several threads at once.
class RetiredFiles {
 public:
  RetiredFiles(FileSystem& files, std::filesystem::path folder);

  /// A file of the folder of segments that only states of generations from `first` on, below `end`
  /// name.
  void add(const std::string& name, int64_t first, int64_t end);

  /// Removes the files that no reader holds. Never throws Error: what cannot be removed stays on
  /// the list.
  void remove_unneeded();

  /// All are forgotten; none is removed.
  void clear() { retired_.clear(); }

  int64_t count() const { return static_cast<int64_t>(retired_.size()); }
  int64_t num_bytes() const;

 private:
  struct Retired {
    std::string name;
    int64_t first = 0;
    int64_t end = 0;
    int64_t num_bytes = 0;
  };

  bool is_gone(const Retired& file) const;

  FileSystem& files_;
  std::filesystem::path folder_;  // of the bank
  std::vector<Retired> retired_;
};

}  // namespace msa::memory
