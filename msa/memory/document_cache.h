#pragma once
// The records of the documents that were chosen last, in GPU memory.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "msa/kernels/gpu.h"

namespace msa::memory {

struct DocumentCacheOptions {
  int64_t num_documents = 0;
  int64_t num_slots = 0;      // > 0
  int64_t slot_bytes = 0;     // of the largest record
  bool is_only_copy = false;  // what is not in the cache cannot be read
};

/// Calls may run at once.
///
/// A slot is never written while a read that may have found it is queued. Whoever chooses on the
/// GPU finds slots only when the read runs, so a slot changes hands in three steps. The document
/// that leaves it is taken out of the table, and the host waits until that is done: what is queued
/// later does not find it. Then the copies wait for all reads that were queued before. Once the new
/// record is there, the table names it. A cache that is_only_copy takes a document out of the table
/// after the reads that were queued before instead: these still need it, and later ones put it back
/// first.
class DocumentCache {
 public:
  DocumentCache(const kernels::Gpu& gpu, const DocumentCacheOptions& options);
  ~DocumentCache();
  DocumentCache(const DocumentCache&) = delete;
  DocumentCache& operator=(const DocumentCache&) = delete;

  /// For GatherRecordsParams: slot [N], cached [slots, slot_bytes()].
  const int32_t* slots() const { return reinterpret_cast<const int32_t*>(table_.data()); }
  const std::byte* records() const { return records_.data(); }
  int64_t slot_bytes() const { return options_.slot_bytes; }

  /// A document that is to be filled in, and where.
  struct Entry {
    int64_t document = 0;
    std::byte* slot = nullptr;
  };
  /// Queues copies of records to their slots on the stream.
  using Fill = std::function<void(std::span<const Entry>, kernels::CudaStream)>;

  /// Keeps these documents, in place of those that were used least recently. Places below 0 are
  /// nobody; where there are more documents than slots, the last ones are left out. Returns when
  /// the copies are queued. What `fill` throws is passed on: none of its documents is kept then.
  void keep(std::span<const int64_t> documents, const Fill& fill);

  /// Calls `queue_read`, which queues reads of the cache on `stream`.
  void read(kernels::CudaStream stream, const std::function<void()>& queue_read);

  /// The same for reads that need these documents: no more of them than slots.
  void read(std::span<const int64_t> documents, const Fill& fill, kernels::CudaStream stream,
            const std::function<void()>& queue_read);

 private:
  struct Resident {
    int64_t document = 0;
    int32_t slot = 0;
  };

  void keep_locked(std::span<const int64_t> documents, const Fill& fill);
  std::vector<int64_t> find_missing(std::span<const int64_t> documents);
  void make_room(size_t num_slots);
  void await_reads(kernels::CudaStream stream);
  void set_slots(std::span<const Resident> changes, kernels::CudaStream stream);

  const kernels::Gpu& gpu_;
  DocumentCacheOptions options_;
  kernels::GpuBuffer table_;
  kernels::GpuBuffer records_;

  std::mutex change_mutex_;        // held while the cache changes; taken before read_mutex_
  kernels::PinnedBuffer changes_;  // [slots] SlotChange, read by the GPU
  std::list<Resident> residents_;  // the one used last comes first
  std::unordered_map<int64_t, std::list<Resident>::iterator> found_;  // by document
  std::vector<int32_t> free_;
  kernels::GpuStream tables_;  // takes documents out
  kernels::GpuStream copies_;  // fills slots and puts documents in
  kernels::GpuEvent kept_;     // behind the last of them

  std::mutex read_mutex_;
  std::map<kernels::CudaStream, kernels::GpuEvent> reads_;  // the last read of each stream
};

}  // namespace msa::memory
