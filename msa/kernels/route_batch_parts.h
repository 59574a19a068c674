#pragma once
// The steps of route_batch_cuda, in the order in which they run, and the scratch that joins them.

#include <cstdint>

#include "msa/kernels/route_batch.h"

namespace msa::kernels {

constexpr int64_t kTokenStep = 8;  // tokens of a question are filled up to a multiple, by the last

constexpr int kSelectBlocks = 128;

/// Where the tokens of each question stand: as given, and filled up. Passed to kernels by value.
struct TokenSpans {
  int32_t given[kMostQuestions + 1];
  int32_t filled[kMostQuestions + 1];
};

/// Device scratch. Scores of documents are kept in an order-preserving form of float32, in which 0
/// is below all: no chunk was seen.
struct RouteBatchSpace {
  uint8_t* query = nullptr;        // [filled tokens, query_row_bytes], rounded as the keys
  float* token_scale = nullptr;    // [filled tokens]
  int32_t* block_owner = nullptr;  // [filled tokens / kTokenStep], the question of each block
  float* window = nullptr;         // [B], how far two scanned scores may be from those in float32
  uint32_t* score = nullptr;       // [B, N]
  uint32_t* ticket = nullptr;      // [B]
  uint32_t* num_candidates = nullptr;  // [B], documents that could be among the best
  int32_t* candidate = nullptr;        // [B, N], in no order
  uint32_t* fresh = nullptr;           // [B, N], their scores by unrounded queries
  uint64_t* part = nullptr;            // [B, kSelectBlocks, top_k]
  uint64_t* best = nullptr;            // [B, top_k] score and document, best first
  int64_t query_row_bytes = 0;         // whole 128 bytes
  int64_t num_tokens = 0;              // filled
  int64_t num_bytes = 0;
};

/// Rounds the queries, lays them out, and finds the windows. window and score hold zeros.
void prepare_queries(const RouteBatchParams& params, const TokenSpans& spans,
                     const RouteBatchSpace& space, CudaStream stream);

/// Raises every document's score to the largest of its chunks and tokens, in the way of
/// route_scan_tiles.h that is faster here.
void scan_keys(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream);

/// best = the top_k documents by score, ties by lower place. ticket holds zeros, before and after.
void select_documents(const RouteBatchParams& params, const RouteBatchSpace& space,
                      CudaStream stream);

/// Finds the candidates: documents within the window below the last of `best`. num_candidates
/// holds zeros. Then scores them by unrounded queries.
void rescore_documents(const RouteBatchParams& params, const TokenSpans& spans,
                       const RouteBatchSpace& space, CudaStream stream);

/// The top_k of the candidates, as RouteBatchParams::selected; their fresh scores replace the
/// scanned ones.
void select_candidates(const RouteBatchParams& params, const RouteBatchSpace& space,
                       CudaStream stream);

/// Adds to RouteBatchParams::score_sum.
void add_scores(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream);

}  // namespace msa::kernels
