#pragma once
// A bank for a GPU: routing keys in its memory, content as near to it as there is room.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "msa/kernels/gpu.h"
#include "msa/memory/bank_segments.h"
#include "msa/memory/chunk_source.h"
#include "msa/memory/document_cache.h"
#include "msa/memory/gpu_keys.h"
#include "msa/memory/record_reader.h"
#include "msa/memory/tier_plan.h"

namespace msa::memory {

struct GpuSourceOptions {
  int64_t gpu_bytes = 0;   // budget for keys, content and cache; 0: what is free but the reserve
  int64_t host_bytes = 0;  // budget of pinned memory; 0: half of what is available. Aside from it,
                           // of records that come from disk: blocks around them (8 MiB at most),
                           // and half of what float32 ones take
  int64_t gpu_reserve_bytes = int64_t{4} << 30;  // kept free where gpu_bytes is 0
  ScanKeys scan_keys = ScanKeys::kStored;        // kInt4: Hopper GPUs only
};

/// Rows of K and V in GPU memory that chosen documents are copied to.
struct GatherTarget {
  BFloat16* key = nullptr;      // [capacity, F], 16-byte aligned
  BFloat16* value = nullptr;    // [capacity, F]
  int64_t first_row = 0;        // in [0, capacity]
  int64_t capacity = 0;         // rows
  int32_t* num_rows = nullptr;  // [1] on the GPU, written: first_row + rows copied
  int32_t* overflow = nullptr;  // [1] on the GPU, 1 is written if rows had to be left out
};

/// All facts are immutable; all calls may run at once. Records are kept as the bank has them, but
/// float32 is rounded to bfloat16 when it is read; a gather gives K and V as bfloat16. A failure of
/// work that was queued shows as Error(kDevice) in one of the calls that wait for the GPU. It must
/// not go while gathers are queued.
class GpuSource final : public ChunkSource {
 public:
  /// Throws Error(kDevice) if the budgets are too small (plan_tiers) or for keys that the GPU does
  /// not route over, Error(kLimit) if the memory is not there, Error(kCorruption) with file and
  /// offset if the bank is damaged. `gpu` must outlive it.
  static std::unique_ptr<GpuSource> load(const kernels::Gpu& gpu,
                                         std::unique_ptr<const BankSegments> segments,
                                         const GpuSourceOptions& options);
  ~GpuSource() override;

  /// What a bank takes.
  static TierSizes sizes(const BankSegments& segments, ScanKeys scan);

  /// Of this source alone among all of the process; from 1.
  int64_t number() const { return number_; }

  /// What routing reads of all keys in one round.
  int64_t scanned_key_bytes() const { return keys_->scanned_bytes(); }

  const BankSegments& segments() const { return *segments_; }

  /// What is kept where.
  const Tiers& tiers() const { return tiers_; }

  const MemoryShape& shape() const override { return segments_->facts().shape; }
  int64_t num_documents() const override { return segments_->num_documents(); }
  int64_t num_chunks(int64_t document) const override { return segments_->num_chunks(document); }

  /// Fills in what of `params` is the memory's: all but questions and results. Routing needs at
  /// least one document.
  void set_routing(int64_t layer, kernels::RouteBatchParams& params) const {
    keys_->set_routing(layer, params);
  }

  /// Queues on `stream` the copy of K and V of one layer of the documents that `selected` [top_k]
  /// (on the GPU; document -1: none) names when the copy runs. With content on disk it waits for
  /// the stream, so that it knows the documents, reads those that the GPU does not have, and throws
  /// as fetch. top_k is at most kernels::kMostRouted. Not to be captured into a graph.
  void gather(int64_t layer, const kernels::ScoredDocument* selected, int64_t top_k,
              const GatherTarget& target, kernels::CudaStream stream) const;

  /// After a round: copies the whole records of these documents to the GPU if they are in the
  /// host's memory, so that the next rounds find them there. Places below 0 are nobody. Returns
  /// when the copies are queued; gathers do not wait for them.
  void remember(std::span<const int64_t> documents) const;

  /// As ChunkSource::route for rules that are folded; for others, for more documents than
  /// kernels::kMostRouted, or if the scores of all documents are asked for, it throws
  /// Error(kInvalidArgument). Documents without chunks are not chosen. Waits for the GPU; a session
  /// calls route_batch itself.
  std::vector<kernels::ScoredDocument> route(int64_t layer, const RoutingQuery& query,
                                             int64_t top_k,
                                             std::span<float> document_scores) const override;
  void fetch(int64_t layer, std::span<const int64_t> documents, float* key,
             float* value) const override;

 private:
  GpuSource(const kernels::Gpu& gpu, std::unique_ptr<const BankSegments> segments);

  void place(const GpuSourceOptions& options);
  void load_content(std::byte* to) const;
  int64_t record_bytes(int64_t num_chunks) const {
    return num_chunks * shape().num_layers * 2 * row_bytes_;
  }
  void copy_records(std::span<const DocumentCache::Entry> entries,
                    kernels::CudaStream stream) const;
  void read_records(std::span<const DocumentCache::Entry> entries,
                    kernels::CudaStream stream) const;
  void fetch_some(int64_t layer, std::span<const int64_t> documents, float*& key,
                  float*& value) const;

  const kernels::Gpu& gpu_;
  int64_t number_;
  std::unique_ptr<const BankSegments> segments_;
  int64_t row_bytes_;  // of K or V of one chunk in one layer, as records have them
  Tiers tiers_;
  std::unique_ptr<GpuKeys> keys_;
  kernels::GpuBuffer gpu_content_;      // all records, or
  kernels::PinnedBuffer host_content_;  // all records, or
  kernels::PinnedBuffer staging_;       // [staging_slots, room_bytes_] on their way from disk
  int64_t room_bytes_ = 0;
  std::unique_ptr<RecordReader> reader_;  // under the cache's lock; null: nothing is on disk
  std::unique_ptr<DocumentCache> cache_;  // null: none
};

}  // namespace msa::memory
