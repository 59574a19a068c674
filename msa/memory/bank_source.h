#pragma once
// A bank as the model sees it: routing keys in RAM, content read from the segments when it is
// chosen.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "msa/base/file_pool.h"
#include "msa/base/file_system.h"
#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog.h"
#include "msa/memory/chunk_source.h"
#include "msa/memory/routing_index.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {

/// Immutable; all calls may run at once. Every byte read has been checked against its digest.
class BankSource final : public ChunkSource {
 public:
  /// Throws Error(kCorruption) with file and offset if a segment or its routing keys are damaged.
  /// `files` must outlive it. However many segments there are, few of their files are open at once.
  BankSource(FileSystem& files, const std::filesystem::path& folder, const BankFacts& facts,
             const std::vector<SegmentRow>& segments, const std::vector<Passage>& passages);

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
  struct Place {
    size_t segment = 0;       // in segments_
    int64_t first_chunk = 0;  // within the segment
    int64_t passage_id = 0;
  };

  BankFacts facts_;
  RoutingIndex index_;
  FilePool pool_;
  std::vector<std::unique_ptr<storage::SegmentFile>> segments_;
  std::vector<Place> places_;  // [documents]
};

}  // namespace msa::memory
