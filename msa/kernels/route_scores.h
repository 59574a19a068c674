#pragma once
// Routing: the score of every document for one question in one layer, and the k best, in one pass.

#include <cstddef>
#include <cstdint>

#include "msa/kernels/number_type.h"

namespace msa::kernels {

/// A document chosen by routing. `document` is its place in the memory, not its id.
struct ScoredDocument {
  int64_t document = -1;
  float score = 0;
};

/// score(document) = max over its chunks c and over question tokens t of query[t] . key[c].
/// With query[t] = concat over g of (1/H) sum over h in g of Q^R[t,h] this is the head mean of
/// arXiv 2603.23516 exactly, because the key is shared inside a kv group ("the fold").
/// No score matrix exists: the maxima are kept in registers.
struct RouteScoresParams {
  NumberType key_type = NumberType::kFloat32;
  const void* key = nullptr;         // [C, F] of key_type; F = G * D
  const float* key_scale = nullptr;  // [C], kInt8 only: key = scale * int8
  const int64_t* first_chunk =
      nullptr;  // [N + 1]: document n owns chunks first_chunk[n] .. first_chunk[n+1] - 1
  const float* query = nullptr;        // [T, F], folded
  int64_t num_documents = 0;           // N >= 0
  int64_t num_tokens = 0;              // T > 0
  int64_t key_dim = 0;                 // F > 0
  int64_t top_k = 0;                   // in [0, N]
  ScoredDocument* selected = nullptr;  // [top_k], written: falling score, ties by lower place
  // [N], written unless null; a document without chunks has -inf. With kBFloat16 and kInt8 keys,
  // the k best have their scores in float32; another's may be that of a rounded query, or of one of
  // its chunks, and is no higher than theirs.
  float* document_scores = nullptr;
};

/// Bytes of scratch that route_scores needs (64-byte aligned).
int64_t route_scores_workspace_bytes(const RouteScoresParams& params);

/// Runs on all threads with the widest instructions the CPU has. Allocates nothing; checks nothing.
void route_scores_cpu(const RouteScoresParams& params, std::byte* workspace);

}  // namespace msa::kernels
