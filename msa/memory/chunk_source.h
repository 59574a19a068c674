#pragma once
// What the model sees of a memory: route a layer's queries, fetch the chosen documents' K and V.

#include <cstdint>
#include <span>
#include <vector>

#include "msa/kernels/route_scores.h"

namespace msa::memory {

enum class HeadReduce { kMean, kMax };
enum class QueryReduce { kMax, kMean, kLast };
enum class ChunkReduce { kMax, kMean };

/// How scores S(t, c, h) = Q^R[t,h] . K^R[c, g(h)] become one score a document.
struct RoutingRule {
  HeadReduce head = HeadReduce::kMean;
  QueryReduce query = QueryReduce::kMax;
  ChunkReduce chunk = ChunkReduce::kMax;
  float scale = 1;  // factor on every score; D^-0.5 where vectors are not normalised

  /// True where the head mean folds into the query and a maximum can be kept on the fly.
  bool is_folded() const { return head == HeadReduce::kMean && chunk == ChunkReduce::kMax; }
};

/// Routing queries of one question in one layer. Borrowed for the length of a call.
struct RoutingQuery {
  const float* values = nullptr;  // [T, H, D], normalised where the method says so
  int64_t num_tokens = 0;         // T > 0
  int64_t num_heads = 0;          // H, a multiple of the memory's G
  RoutingRule rule;
};

/// Sizes that model and memory must agree on.
struct MemoryShape {
  int64_t num_layers = 0;    // router layers: slot 0 is the lowest
  int64_t num_kv_heads = 0;  // G
  int64_t head_dim = 0;      // D
  int64_t chunk_tokens = 0;  // P

  int64_t key_dim() const { return num_kv_heads * head_dim; }  // F
  bool operator==(const MemoryShape&) const = default;
};

/// Documents as pooled chunks. A document is named by its place in [0, num_documents()); places are
/// in order of rising id. `layer` is a router layer's slot. All calls may run at once.
class ChunkSource {
 public:
  virtual ~ChunkSource() = default;

  virtual const MemoryShape& shape() const = 0;
  virtual int64_t num_documents() const = 0;

  /// Chunks of a document in every layer.
  virtual int64_t num_chunks(int64_t document) const = 0;

  /// The min(top_k, num_documents()) documents with the largest scores, best first, ties by place.
  /// `document_scores`, unless empty, receives the score of every document [num_documents()].
  virtual std::vector<kernels::ScoredDocument> route(int64_t layer, const RoutingQuery& query,
                                                     int64_t top_k,
                                                     std::span<float> document_scores) const = 0;

  /// Writes K and V of the documents, one after the other in the order given, as [chunks, G, D]
  /// float32. Throws Error(kCorruption) naming file, offset and document if stored bytes fail their
  /// digest.
  virtual void fetch(int64_t layer, std::span<const int64_t> documents, float* key,
                     float* value) const = 0;
};

}  // namespace msa::memory
