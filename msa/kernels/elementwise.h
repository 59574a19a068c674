#pragma once
// The arithmetic between the matrix products of a layer, on rows. Each call does rows [first, end):
// a caller shares the rows among threads.

#include <cstdint>

#include "msa/kernels/number_type.h"

namespace msa::kernels {

/// out[t] = x[t] / sqrt(mean of x[t]^2 + eps) * weight
struct RmsNormParams {
  const float* x = nullptr;                    // [T, E]
  const float* weight = nullptr;               // [E]
  void* out = nullptr;                         // [T, E] of out_type, written
  NumberType out_type = NumberType::kFloat32;  // or kBFloat16
  int64_t dim = 0;                             // E
  float eps = 0;
};
void rms_norm(const RmsNormParams& params, int64_t first, int64_t end);

/// RMS norm of every head, then rotation of its two halves (a, b) by the token's angles:
/// (a cos - b sin, b cos + a sin).
struct NormRopeParams {
  const void* x = nullptr;  // [T, heads, D] of x_type; token t begins at t * x_stride elements
  NumberType x_type = NumberType::kFloat32;  // or kBFloat16
  int64_t x_stride = 0;
  const float* weight = nullptr;  // [D]
  const float* cosine = nullptr;  // [T, D / 2]
  const float* sine = nullptr;    // [T, D / 2]
  float* out = nullptr;           // [T, heads, D], written
  int64_t num_heads = 0;
  int64_t head_dim = 0;  // D, even
  float eps = 0;
};
void norm_rope(const NormRopeParams& params, int64_t first, int64_t end);

/// out[t][i] = silu(gate_up[t][i]) * gate_up[t][F + i]
struct SwigluParams {
  const void* gate_up = nullptr;           // [T, 2 * F] of type
  void* out = nullptr;                     // [T, F] of type, written
  NumberType type = NumberType::kFloat32;  // or kBFloat16
  int64_t dim = 0;                         // F
};
void swiglu(const SwigluParams& params, int64_t first, int64_t end);

/// out[i] = silu(gate[i]) * up[i], i < count: the same for one token whose parts lie apart.
void gate(const float* gate, const float* up, float* out, int64_t count);

/// out[t] = x[t] / max(|x[t]|, 1e-12)
struct NormalizeParams {
  const float* x = nullptr;  // [T, D]
  float* out = nullptr;      // [T, D], written; may be x
  int64_t dim = 0;           // D
};
void l2_normalize(const NormalizeParams& params, int64_t first, int64_t end);

/// sum[t] += x[t]
struct AddParams {
  const void* x = nullptr;                   // [T, E] of x_type
  NumberType x_type = NumberType::kFloat32;  // or kBFloat16
  float* sum = nullptr;                      // [T, E], read and written
  int64_t dim = 0;                           // E
};
void add_rows(const AddParams& params, int64_t first, int64_t end);

}  // namespace msa::kernels
