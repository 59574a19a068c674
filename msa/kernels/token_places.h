#pragma once
// Where a session's tokens stand in the caches of its layers. Kept on the GPU: how many rows of
// memory stand before them is known there alone, once a layer has routed.

#include <cstdint>

#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

/// Device memory; L layers. Own rows follow prefix[l] rows of prompt head and chosen chunks.
struct TokenPlaces {
  int32_t* prefix = nullptr;       // [L]
  int32_t* first_row = nullptr;    // [L], row of the first token of a pass
  int32_t* key_first = nullptr;    // [L, 2], 0 and the rows that its last token sees
  int32_t* query_first = nullptr;  // [2], 0 and its tokens: as PackedAttentionParams
  int32_t* query_last = nullptr;   // [2], 0 and 1: its last token alone
};

/// What a pass adds: own tokens [first, end) into layers [first_layer, end_layer).
struct PlaceTokensParams {
  TokenPlaces places;
  int64_t first_layer = 0;
  int64_t end_layer = 0;
  int64_t first = 0;
  int64_t end = 0;
};

/// Writes all but `prefix`.
void place_tokens_cuda(const PlaceTokensParams& params, CudaStream stream);

/// A decoding step: one token behind `num_tokens` own ones, in every layer.
struct BeginStepParams {
  TokenPlaces places;
  int64_t num_layers = 0;
  int32_t token = 0;
  const int32_t* next_token = nullptr;  // [1], in place of `token`: what the step before has left
                                        // (FusedStepParams); below 0 it counts as 0
  int32_t* next_token_seen = nullptr;   // [1], written: the token, below 0 as it is; null:
                                        // not asked for
  int64_t num_tokens = 0;
  int64_t first_position = 0;       // of the session's first token
  int32_t* token_out = nullptr;     // [1], written
  int32_t* position_out = nullptr;  // [1], written: first_position + num_tokens
  int32_t* row_out = nullptr;       // [1], written: num_tokens
};
void begin_step_cuda(const BeginStepParams& params, CudaStream stream);

/// rows[*row] = x
struct StoreRowParams {
  const float* x = nullptr;      // [E]
  float* rows = nullptr;         // [capacity, E]
  const int32_t* row = nullptr;  // device
  int64_t dim = 0;               // E
};
void store_row_cuda(const StoreRowParams& params, CudaStream stream);

}  // namespace msa::kernels
