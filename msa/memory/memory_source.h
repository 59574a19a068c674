#pragma once
// A memory that lives in RAM: what the model encoded, as it is.

#include <cstdint>
#include <span>
#include <vector>

#include "msa/memory/chunk_source.h"
#include "msa/memory/encoded_documents.h"
#include "msa/memory/routing_index.h"

namespace msa::memory {

/// Immutable; all calls may run at once.
class MemorySource final : public ChunkSource {
 public:
  /// Routing keys are kept as `key_type`; K and V as float32.
  MemorySource(const MemoryShape& shape, EncodedDocuments documents, kernels::NumberType key_type);

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
  EncodedDocuments documents_;
  RoutingIndex index_;
};

}  // namespace msa::memory
