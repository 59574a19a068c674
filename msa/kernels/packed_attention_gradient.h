#pragma once
// Causal softmax attention of sequences side by side, and its gradients, on the CPU.

#include <cstdint>

namespace msa::kernels {

/// out[t][h] = sum over visible s of p[s] * value[s][g(h)], p = softmax over s of scale * q[t][h] .
/// key[s][g(h)], g(h) = h / (H / G). Sequence n has queries query_offsets[n] ..
/// query_offsets[n + 1] - 1 and keys key_offsets[n] .. key_offsets[n + 1] - 1. Its queries are
/// aligned with the end of its keys: the i-th last query sees all but the last i keys. A query that
/// sees none has out 0. Number is float or double; sums are of that type.
template <typename Number>
struct AttentionForwardParams {
  const Number* query = nullptr;           // [T, H, D]
  const Number* key = nullptr;             // [S, G, D]
  const Number* value = nullptr;           // [S, G, D]
  Number* out = nullptr;                   // [T, H, D], written
  Number* log_sum = nullptr;               // [T, H], written: log of the sum of e^(scale * q . k)
  const int32_t* query_offsets = nullptr;  // [N + 1]
  const int32_t* key_offsets = nullptr;    // [N + 1]
  int64_t num_heads = 0;                   // H, a multiple of G
  int64_t num_kv_heads = 0;                // G
  int64_t head_dim = 0;                    // D in [1, kMaxGradientDim]
  Number scale = 1;
};

/// `forward` with what it wrote, and the gradients of a loss. Scores are computed again, tile by
/// tile. Source: arXiv 2205.14135.
template <typename Number>
struct AttentionBackwardParams {
  AttentionForwardParams<Number> forward;
  const Number* out_gradient = nullptr;  // [T, H, D]
  Number* query_gradient = nullptr;      // [T, H, D], written
  Number* key_gradient = nullptr;        // [S, G, D], written
  Number* value_gradient = nullptr;      // [S, G, D], written
};

constexpr int64_t kMaxGradientDim = 256;

/// One sequence and kv head with all its query heads. Calls for others may run at once; results do
/// not depend on who makes them.
void attention_forward(const AttentionForwardParams<float>& params, int64_t sequence,
                       int64_t kv_head);
void attention_forward(const AttentionForwardParams<double>& params, int64_t sequence,
                       int64_t kv_head);
void attention_backward(const AttentionBackwardParams<float>& params, int64_t sequence,
                        int64_t kv_head);
void attention_backward(const AttentionBackwardParams<double>& params, int64_t sequence,
                        int64_t kv_head);

}  // namespace msa::kernels
