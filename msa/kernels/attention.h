#pragma once
// Softmax attention over a cache, for prompts (many queries) and for one decoding step.

#include <cstdint>

namespace msa::kernels {

/// out[t][h] = sum over visible s of softmax_s(scale * q[t][h] . key[s][g(h)]) * value[s][g(h)],
/// g(h) = h / (H / G). Sequences stand side by side: sequence n has queries query_first[n] ..
/// query_first[n + 1] - 1 and keys key_first[n] .. key_first[n + 1] - 1. Its queries are aligned
/// with the end of its keys: with `is_causal`, the i-th last query sees all but the last i keys of
/// its sequence; otherwise every query sees every key.
struct AttentionParams {
  const float* query = nullptr;          // [T, H, D]
  const float* key = nullptr;            // [S, G, D]
  const float* value = nullptr;          // [S, G, D]
  float* out = nullptr;                  // [T, H, D], written
  const int64_t* query_first = nullptr;  // [N + 1]
  const int64_t* key_first = nullptr;    // [N + 1]
  int64_t num_heads = 0;                 // H, a multiple of G
  int64_t num_kv_heads = 0;              // G
  int64_t head_dim = 0;                  // D in [1, kMaxAttentionDim]
  float scale = 1;                       // D^-0.5
  bool is_causal = true;
};

constexpr int64_t kMaxAttentionDim = 256;

/// Queries of one block: as many as share the keys that lie in fast memory.
constexpr int64_t kAttentionBlock = 32;

/// The block of queries [first_query, first_query + kAttentionBlock) of a sequence, counted from
/// its first query, for all heads of kv head `kv_head`. Online softmax in float32; no score matrix.
void attention_block(const AttentionParams& params, int64_t sequence, int64_t first_query,
                     int64_t kv_head);

/// One query over S keys.
struct SparseAttentionParams {
  const float* query = nullptr;  // [H, D]
  const float* key = nullptr;    // [S, G, D]
  const float* value = nullptr;  // [S, G, D]
  float* out = nullptr;          // [H, D], written
  int64_t num_keys = 0;          // S > 0
  int64_t num_heads = 0;         // H, a multiple of G
  int64_t num_kv_heads = 0;      // G
  int64_t head_dim = 0;          // D
  float scale = 1;               // D^-0.5
  float* scores = nullptr;       // [H, S] scratch
};

/// Heads [first, end) of one decoding step over [prompt head ; chosen chunks ; own tokens].
void sparse_attention(const SparseAttentionParams& params, int64_t first, int64_t end);

}  // namespace msa::kernels
