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
  float* window = nullptr;         // [B], how far two scanned scores may be from those in float32;
                                   // with packed keys how far one may be below, and beside it
  float* scale_window = nullptr;   // [B], times a key's scale; packed keys only
  float* error_window = nullptr;   // [B], times a key's scale and the number in its lowest bits
  uint32_t* score = nullptr;       // [B, N]
  float* reach = nullptr;          // [B, C], at least each chunk's score in float32; packed only
  uint32_t* ticket = nullptr;      // [B]
  uint32_t* num_candidates = nullptr;  // [B], documents that could be among the best
  int32_t* candidate = nullptr;        // [B, N], in no order
  uint32_t* num_listed = nullptr;      // [B], chunks that are scored by unrounded queries
  int32_t* listed = nullptr;           // [B, C], in no order
  uint32_t* fresh = nullptr;           // [B, N], the best of these scores of each document
  uint64_t* part = nullptr;            // [B, kSelectBlocks, num_best]
  uint64_t* best = nullptr;            // [B, num_best] score and document, best first
  int64_t num_best = 0;  // top_k; with packed keys more, so that the best in float32 are among them
  int64_t query_row_bytes = 0;  // whole 128 bytes
  int64_t num_tokens = 0;       // filled
  int64_t num_bytes = 0;
};

/// Rounds the queries, lays them out, and finds the windows. The windows hold zeros.
void prepare_queries(const RouteBatchParams& params, const TokenSpans& spans,
                     const RouteBatchSpace& space, CudaStream stream);
void prepare_packed_queries(const RouteBatchParams& params, const TokenSpans& spans,
                            const RouteBatchSpace& space, CudaStream stream);

/// Raises every document's score, which is 0, to the largest of its chunks and tokens, in the way
/// of route_scan_tiles.h that is faster here.
void scan_keys(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream);

/// The same over packed keys; also writes what every chunk can reach.
void scan_packed_keys(const RouteBatchParams& params, const RouteBatchSpace& space,
                      CudaStream stream);

/// best = the num_best documents by score, ties by lower place. ticket holds zeros, before and
/// after.
void select_documents(const RouteBatchParams& params, const RouteBatchSpace& space,
                      CudaStream stream);

/// Lists the candidates, documents within the window below the last of `best`, and their chunks.
/// The counts and fresh hold zeros.
void list_candidates(const RouteBatchParams& params, const RouteBatchSpace& space,
                     CudaStream stream);

/// Scores `best` by unrounded queries, and lists the chunks that can reach the top_k-th of these
/// scores, and their documents. The counts and fresh hold zeros.
void list_reaching(const RouteBatchParams& params, const TokenSpans& spans,
                   const RouteBatchSpace& space, CudaStream stream);

/// Raises `fresh` to the scores of the listed chunks by unrounded queries.
void rescore_listed(const RouteBatchParams& params, const TokenSpans& spans,
                    const RouteBatchSpace& space, CudaStream stream);

/// The top_k of the candidates, as RouteBatchParams::selected; their fresh scores replace the
/// scanned ones.
void select_candidates(const RouteBatchParams& params, const RouteBatchSpace& space,
                       CudaStream stream);

/// Adds to RouteBatchParams::score_sum.
void add_scores(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream);

}  // namespace msa::kernels
