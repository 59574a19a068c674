#pragma once
// Routing of several questions over one memory on a GPU.

#include <cstddef>
#include <cstdint>

#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/pack_keys.h"
#include "msa/kernels/route_scores.h"

namespace msa::kernels {

/// Questions that are routed together in one layer. Scores and choices are those of
/// RouteScoresParams, question by question; all pointers are device memory, 16-byte aligned, but
/// for `key` where the keys are packed: it may be pinned host memory, of which little is read.
struct RouteBatchParams {
  NumberType key_type = NumberType::kBFloat16;  // kBFloat16 or kInt8
  const void* key = nullptr;                    // [C, F] of key_type; a row is whole 16 bytes
  const float* key_scale = nullptr;             // [C], kInt8 only
  const int32_t* document_of_chunk = nullptr;   // [C], rising
  const int64_t* first_chunk = nullptr;         // [N + 1]
  float longest_key = 0;                        // at least the length of every key
  PackedKeys packed = {};                       // of the same keys, scanned in their place; Hopper
                                                // GPUs only, F <= kMostPackedDim
  const float* query = nullptr;                 // [T, F], folded: those of all questions in turn
  const int64_t* first_token = nullptr;         // [B + 1], host memory: question b owns tokens
                                                // first_token[b] .. first_token[b + 1] - 1, > 0
  const uint32_t* hidden = nullptr;             // [B, ceil(N / 32)], bit n % 32 of word n / 32:
                                                // question b does not see document n; null: none
  int64_t num_questions = 0;                    // B in [1, kMostQuestions]
  int64_t num_documents = 0;                    // N > 0
  int64_t num_chunks = 0;                       // C > 0
  int64_t key_dim = 0;                          // F > 0
  int64_t top_k = 0;                            // in [1, min(N, kMostRouted)]
  ScoredDocument* selected = nullptr;           // [B, top_k], written; where a question sees fewer
                                                // documents with chunks, document -1 and -inf
  float* score_sum = nullptr;  // [B, N], unless null score_share times each document's score is
                               // added. The k best have their scores in float32; another's may be
                               // that of a rounded query and a packed key
  float score_share = 1;
  int32_t* num_rescored = nullptr;  // [B], unless null written: chunks that were listed to be
                                    // scored in float32 after the scan; those of the leaders of
                                    // packed keys aside
};
constexpr int64_t kMostRouted = 64;
constexpr int kMostQuestions = 64;

/// Bytes of device scratch that route_batch_cuda needs. Of the parameters B, N, C, T, F, top_k,
/// key_type and whether keys are packed count.
int64_t route_batch_workspace_bytes(const RouteBatchParams& params);

/// Queues all work on `stream` and returns; synchronises nothing and allocates nothing. Queries are
/// rounded for the scan; every document that could be among the k best in float32 is scored again
/// without rounding (bounds as in route_rescore.h), so that the choice is that of float32. With
/// packed keys it is, but for a chance below 8e-7 over rotations drawn by chance, for which one
/// fixed rotation stands (route_packed_queries_cuda.cu).
/// A token whose score of a chunk is not a number has none there; with such queries all chunks of a
/// question are scored again.
/// Throws Error(kInvalidArgument) for shapes outside the ranges above, Error(kDevice) if the GPU
/// cannot be given the work, or cannot scan packed keys.
void route_batch_cuda(const RouteBatchParams& params, std::byte* workspace, CudaStream stream);

}  // namespace msa::kernels
