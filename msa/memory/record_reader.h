#pragma once
// Whole records of a bank, from disk to the host's memory, many together.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "msa/base/batch_reader.h"
#include "msa/memory/bank_segments.h"

namespace msa::memory {

/// One thread may use it at a time.
class RecordReader {
 public:
  /// `segments` must outlive it. `wants_ring`: as BatchReader.
  explicit RecordReader(const BankSegments& segments, bool wants_ring = true);

  /// Room that a record takes while it is read: it, and whole blocks of its file around it.
  static int64_t room_bytes(const BankFacts& facts, int64_t num_chunks);

  struct Wanted {
    int64_t document = 0;
    std::span<std::byte> room;  // of room_bytes() at least
  };

  /// Reads all records. arrived(i, record) is called when that of wanted[i] is in its room, as the
  /// bank has it, but float32 rounded to bfloat16: on any thread, for several records at once.
  /// Throws as BankSegments::plan_record and check_record, as File::read_at (naming the file
  /// alone), or what `arrived` throws; no read is under way then.
  void read(std::span<const Wanted> wanted,
            const std::function<void(size_t, std::span<const std::byte>)>& arrived);

 private:
  const BankSegments& segments_;
  BatchReader reader_;
};

}  // namespace msa::memory
