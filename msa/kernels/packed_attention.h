#pragma once
// Softmax attention of sequences that stand side by side, on a GPU.

#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

/// out[t][h] = sum over visible s of softmax_s(scale * q[t][h] . key[s][g(h)]) * value[s][g(h)],
/// g(h) = h / (H / G). Sequence n has queries query_first[n] .. query_first[n + 1] - 1 and keys
/// key_first[n] .. key_first[n + 1] - 1; either may be none. Its queries are aligned with the end
/// of its keys: with `is_causal`, the i-th last query sees all but the last i keys of its sequence;
/// otherwise every query sees every key. A query that sees no key gets zeros.
struct PackedAttentionParams {
  const BFloat16* query = nullptr;       // [T, H, D], 16-byte aligned, as are the next three
  const BFloat16* key = nullptr;         // [S, G, D]
  const BFloat16* value = nullptr;       // [S, G, D]
  BFloat16* out = nullptr;               // [T, H, D], written
  const int32_t* query_first = nullptr;  // [N + 1]
  const int32_t* key_first = nullptr;    // [N + 1]
  int64_t num_queries = 0;               // T >= query_first[N]
  int64_t num_keys = 0;                  // S >= key_first[N]
  int64_t num_sequences = 0;             // N < 65536
  int64_t most_queries = 0;              // of a sequence; times (H / G)^2 below 2^31
  int64_t num_heads = 0;                 // H, a multiple of G
  int64_t num_kv_heads = 0;              // G < 65536
  int64_t head_dim = 0;  // D, a multiple of 16 up to 128; costs as much as the next of 64 and 128
  float scale = 1;       // > 0
  bool is_causal = true;
};

/// Every pointer is to device memory. Products of bfloat16 with float32 sums and softmax; the
/// softmax's numerators are rounded to bfloat16 for the product with the values. The same result on
/// every call. Returns once the work is queued. Only in the cuda preset. Throws
/// Error(kInvalidArgument) for shapes outside the ranges above, Error(kDevice) if it cannot be
/// launched.
void packed_attention_cuda(const PackedAttentionParams& params, CudaStream stream);

}  // namespace msa::kernels
