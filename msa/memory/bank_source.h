#pragma once
// A bank as the model sees it: routing keys in RAM, content read from the segments when it is
// chosen.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "msa/memory/bank_segments.h"
#include "msa/memory/chunk_source.h"
#include "msa/memory/routing_index.h"

namespace msa::memory {

/// Immutable; all calls may run at once. Every byte read has been checked against its digest.
class BankSource final : public ChunkSource {
 public:
  /// Throws Error(kCorruption) with file and offset if routing keys are damaged. `previous`, if not
  /// null, is of an older state of the bank: what both hold is copied from it, and it has no keys
  /// afterwards.
  explicit BankSource(std::unique_ptr<const BankSegments> segments, BankSource* previous = nullptr);

  const MemoryShape& shape() const override { return index_.shape(); }
  int64_t num_documents() const override { return index_.num_documents(); }
  int64_t num_chunks(int64_t document) const override { return index_.num_chunks(document); }
  std::vector<kernels::ScoredDocument> route(int64_t layer, const RoutingQuery& query,
                                             int64_t top_k,
                                             std::span<float> document_scores) const override {
    return index_.route(layer, query, top_k, document_scores);
  }
  void fetch(int64_t layer, std::span<const int64_t> documents, float* key,
             float* value) const override;

 private:
  using Segment = BankSegments::Segment;

  void load(const Segment& segment, int64_t layer, const BankSource* previous, const Segment* held);
  void read(const Segment& segment, int64_t layer, const ChunkRun& run);
  void copy(int64_t layer, const ChunkRun& run, const BankSource& previous, int64_t from);

  std::unique_ptr<const BankSegments> segments_;
  RoutingIndex index_;
};

}  // namespace msa::memory
