#pragma once
// A decoding step in one launch on Hopper: one token through all layers, bound by the bytes of the
// weights.

#include <cstddef>
#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/weight_rows.h"

namespace msa::kernels {

struct FusedStepShape {
  int64_t num_layers = 0;                   // L > 0
  int64_t embed_dim = 0;                    // E
  int64_t ffn_dim = 0;                      // F
  int64_t num_heads = 0;                    // H, a multiple of G
  int64_t num_kv_heads = 0;                 // G
  int64_t head_dim = 0;                     // D
  int64_t vocab_size = 0;                   // V
  WeightType type = WeightType::kBFloat16;  // of the matrices; the embedding is bfloat16
};

/// Matrices of a layer, their rows as weight_layout of the step's type, and its cache.
struct FusedStepLayer {
  const float* input_norm = nullptr;  // [E]
  const void* input = nullptr;        // [2 G + H, D, E]: key heads, value heads, query heads
  const float* q_norm = nullptr;      // [D]
  const float* k_norm = nullptr;      // [D]
  const void* output = nullptr;       // [E, H, D]
  const float* post_norm = nullptr;   // [E]
  const void* gate_up = nullptr;      // [2 F, E]: gates, then what they let through
  const void* down = nullptr;         // [E, F]
  BFloat16* key = nullptr;            // [capacity, G, D], one row is written
  BFloat16* value = nullptr;          // [capacity, G, D], likewise
};

/// x = embedding[*token]; in every layer x += output * attention(input * norm(x)) (as
/// StepAttentionParams), then x += down * (silu(gates) * up) of norm(x); logits = head * norm(x).
/// Products as DeviceGemvParams.
struct FusedStepParams {
  FusedStepShape shape;
  const FusedStepLayer* layers = nullptr;  // [L]
  const BFloat16* embedding = nullptr;     // [V, E]
  const float* final_norm = nullptr;       // [E]
  const void* head = nullptr;              // [V, E], of the step's type
  const float* cosine = nullptr;           // [positions, D / 2]
  const float* sine = nullptr;             // [positions, D / 2]
  const int32_t* token = nullptr;          // [1], in [0, V)
  const int32_t* position = nullptr;       // [1], row of the two tables
  const int32_t* num_rows = nullptr;       // [L], rows of a cache before this token; < capacity
  float scale = 1;                         // of attention scores, > 0
  float eps = 0;                           // of all norms
  int64_t entry_layer = 0;                 // its x is kept; none if not in [0, L)
  float* entry = nullptr;                  // [capacity, E]
  const int32_t* entry_row = nullptr;      // [1], where x is kept
  float* logits = nullptr;                 // [V], written
  int32_t* next_token = nullptr;           // [1], written: the largest logit, the lowest of equals;
                                           // -1 if one is NaN; null: not asked for
  std::byte* workspace = nullptr;          // fused_step_workspace_bytes, 16-byte aligned; zero
                                           // before the first call, then left alone
};

/// Whether this process's device can run steps of this shape: compute capability 9.0, the rows of
/// the matrices and of a head fit.
bool fused_step_fits(const FusedStepShape& shape);

/// For the device of this process.
int64_t fused_step_workspace_bytes(const FusedStepShape& shape);

/// Queues one launch and returns; may be captured in a CUDA graph. Pointers are to memory that the
/// device can address, matrices and rows of caches 16-byte aligned. The same result on every call.
/// A workspace serves one step at a time; steps with workspaces of their own may be queued on
/// several streams, and run one after the other, since each takes the whole GPU.
/// Throws Error(kInvalidArgument) for a shape that does not fit, Error(kDevice) if it cannot be
/// launched.
void fused_step_cuda(const FusedStepParams& params, CudaStream stream);

}  // namespace msa::kernels
