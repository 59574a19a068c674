#pragma once
// Many reads of files that go to the disk together.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "msa/base/file_system.h"

namespace msa {

struct FileRead {
  const File* file = nullptr;
  uint64_t offset = 0;
  std::span<std::byte> out;
};

/// Reads through io_uring where the system lets a process have a ring, else on all threads. One
/// thread may use it at a time.
class BatchReader {
 public:
  /// `wants_ring` false: as where the system refuses one.
  explicit BatchReader(bool wants_ring = true);
  ~BatchReader();
  BatchReader(const BatchReader&) = delete;
  BatchReader& operator=(const BatchReader&) = delete;

  /// Fills every `out`, in any order. arrived(i) is called when that of reads[i] is full: on any
  /// thread, for several reads at once. Throws as File::read_at, or what `arrived` throws; no read
  /// is under way then, and what is in `out` is undefined.
  void read(std::span<const FileRead> reads, const std::function<void(size_t)>& arrived);

 private:
  struct Ring;

  std::unique_ptr<Ring> ring_;
};

}  // namespace msa
