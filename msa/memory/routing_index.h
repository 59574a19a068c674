#pragma once
// The routing keys of a memory, layer by layer in one run each, so that routing is one stream of
// reads.

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "msa/kernels/number_type.h"
#include "msa/memory/aligned_buffer.h"
#include "msa/memory/chunk_source.h"

namespace msa::memory {

/// Filled once, then immutable; route may run on several threads at once.
class RoutingIndex {
 public:
  RoutingIndex(const MemoryShape& shape, kernels::NumberType key_type);

  /// Makes room for documents with these many chunks, in order of their places.
  void reserve(std::span<const int64_t> num_chunks);

  /// Stores float32 keys [rows, F] of chunks first_row .. in the index's type.
  void set_rows(int64_t layer, int64_t first_row, std::span<const float> keys);

  /// Room for keys that are of the index's type already: [rows, F] from chunk first_row on.
  std::span<std::byte> rows(int64_t layer, int64_t first_row, int64_t num_rows);
  std::span<float> scales(int64_t layer, int64_t first_row, int64_t num_rows);

  /// Rows as rows() and scales() gave them.
  std::span<const std::byte> rows(int64_t layer, int64_t first_row, int64_t num_rows) const;
  std::span<const float> scales(int64_t layer, int64_t first_row, int64_t num_rows) const;

  /// Gives a layer's memory back. Nothing can be routed over it afterwards.
  void release(int64_t layer) { layers_[layer] = {}; }

  /// As ChunkSource::route. Where the rule folds, one pass of kernels::route_scores; else every
  /// chunk's score in double precision.
  std::vector<kernels::ScoredDocument> route(int64_t layer, const RoutingQuery& query,
                                             int64_t top_k, std::span<float> document_scores) const;

  const MemoryShape& shape() const { return shape_; }
  int64_t num_documents() const { return static_cast<int64_t>(first_chunk_.size()) - 1; }
  int64_t first_chunk(int64_t document) const { return first_chunk_[document]; }
  int64_t num_chunks(int64_t document) const {
    return first_chunk_[document + 1] - first_chunk_[document];
  }

 private:
  struct Layer {
    AlignedBuffer keys;         // [C, F] of key_type
    std::vector<float> scales;  // [C], int8 only
  };

  AlignedBuffer take_scratch(int64_t num_bytes) const;
  void score_general(const Layer& layer, const RoutingQuery& query, std::span<float> scores) const;
  double score_chunk(const RoutingQuery& query, std::span<const float> key) const;
  void read_key(const Layer& layer, int64_t chunk, std::span<float> key) const;

  MemoryShape shape_;
  kernels::NumberType key_type_;
  std::vector<int64_t> first_chunk_{0};
  std::vector<Layer> layers_;
  mutable std::mutex mutex_;
  mutable std::vector<AlignedBuffer> idle_;  // scratch memory of calls that are over
};

}  // namespace msa::memory
