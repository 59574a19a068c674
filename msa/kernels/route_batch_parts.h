#pragma once
// The steps of route_batch_cuda, in the order in which they run, and the scratch that joins them.

#include <cstdint>

#include "msa/kernels/route_batch.h"

namespace msa::kernels {

constexpr int64_t kTokenStep = 8;  // tokens of a question are filled up to a multiple, by the last

/// Parts of a memory, of equally many chunks. The best document of each that begins there is its
/// leader, by the chunk that is best of those that it has there: the k-th best leader is no better
/// than the k-th best document, and seldom worse than the next few.
constexpr int kLeaders = 256;

/// Where the tokens of each question stand: as given, and filled up. Passed to kernels by value.
struct TokenSpans {
  int32_t given[kMostQuestions + 1];
  int32_t filled[kMostQuestions + 1];
};

/// Scratch that is filled with zeros: whole 16 bytes.
struct ZeroBytes {
  std::byte* begin = nullptr;
  int64_t num_bytes = 0;
};

/// Device scratch. Scores are kept in an order-preserving form of float32, in which 0 is below all:
/// nothing was seen. Windows are of tokens: a question's is the largest of its tokens'.
struct RouteBatchSpace {
  uint8_t* query = nullptr;         // [filled tokens, query_row_bytes], rounded as the keys
  float* token_scale = nullptr;     // [filled tokens]
  int32_t* block_owner = nullptr;   // [filled tokens / kTokenStep], the question of each block
  float* window = nullptr;          // [filled tokens], how far two scanned scores may be from those
                                    // in float32; with packed keys how far one may be below, and
                                    // beside it
  float* scale_window = nullptr;    // [filled tokens], times a key's scale; packed keys only
  float* error_window = nullptr;    // [filled tokens], times a key's scale and the number in its
                                    // lowest bits; packed keys only
  ZeroBytes early_zeros;            // what the scan wants: filled beside the queries
  ZeroBytes late_zeros;             // what the steps behind want: filled beside finding leaders
  uint32_t* num_taken = nullptr;    // [filled tokens / kTokenStep], bands of keys that were handed
                                    // out in the pass which begins there
  uint32_t* chunk_score = nullptr;  // [B, C], scanned
  uint32_t* fresh = nullptr;        // [B, N], the best scores by unrounded queries
  uint32_t* ticket = nullptr;       // [B]
  uint32_t* num_candidates = nullptr;  // [B], documents that could be among the best
  uint32_t* num_listed = nullptr;      // [B], chunks that are scored by unrounded queries
  uint64_t* leader = nullptr;          // [B, kLeaders] score and chunk, hidden ones left out
  int32_t* candidate = nullptr;        // [B, N], in no order
  int32_t* listed = nullptr;           // [B, C], in no order
  uint64_t* best = nullptr;            // [B, num_best] leaders, best first; packed keys only
  int64_t num_best = 0;  // more than top_k where there are, so that some may be none of the best
  int64_t query_row_bytes = 0;  // whole 128 bytes
  int64_t num_tokens = 0;       // filled
  int64_t num_bytes = 0;
};

/// Rounds the queries, lays them out, and finds the windows; fills `early_zeros`.
void prepare_queries(const RouteBatchParams& params, const TokenSpans& spans,
                     const RouteBatchSpace& space, CudaStream stream);
void prepare_packed_queries(const RouteBatchParams& params, const TokenSpans& spans,
                            const RouteBatchSpace& space, CudaStream stream);

/// Writes every chunk's score, the largest over a question's tokens, in the way of
/// route_scan_tiles.h that is faster here.
void scan_keys(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream);

/// The same over packed keys.
void scan_packed_keys(const RouteBatchParams& params, const RouteBatchSpace& space,
                      CudaStream stream);

/// Fills `late_zeros` as well.
void find_leaders(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream);

/// With packed keys: `best`, and their scores by unrounded queries.
void score_leaders(const RouteBatchParams& params, const TokenSpans& spans,
                   const RouteBatchSpace& space, CudaStream stream);

/// Lists the chunks that could be better than the top_k-th document, and their documents.
void list_candidates(const RouteBatchParams& params, const TokenSpans& spans,
                     const RouteBatchSpace& space, CudaStream stream);

/// Raises `fresh` to the scores of the listed chunks by unrounded queries, and chooses the top_k of
/// the candidates, as RouteBatchParams::selected.
void choose_listed(const RouteBatchParams& params, const TokenSpans& spans,
                   const RouteBatchSpace& space, CudaStream stream);

/// Adds to RouteBatchParams::score_sum.
void add_scores(const RouteBatchParams& params, const RouteBatchSpace& space, CudaStream stream);

}  // namespace msa::kernels
