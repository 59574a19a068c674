#pragma once
// Gradients of what elementwise.h does, on rows of float32 on the CPU. Each call does rows
// [first, end): a caller shares the rows among threads.

#include <cstdint>

namespace msa::kernels {

struct NormRopeGradientRows {
  const float* x = nullptr;  // [T, heads, D]; token t begins at t * x_stride
  int64_t x_stride = 0;
  const float* weight = nullptr;        // [D]
  const float* cosine = nullptr;        // [T, D / 2]
  const float* sine = nullptr;          // [T, D / 2]
  const float* out_gradient = nullptr;  // [T, heads, D]
  float* x_gradient = nullptr;          // [T, heads, D], written
  int64_t num_heads = 0;
  int64_t head_dim = 0;  // D, even
  float eps = 0;
};
/// weight_gradient [D] is written: the part that these rows give.
void norm_rope_gradient(const NormRopeGradientRows& rows, float* weight_gradient, int64_t first,
                        int64_t end);

struct SwigluGradientRows {
  const float* gate_up = nullptr;       // [T, 2 * F]
  const float* out_gradient = nullptr;  // [T, F]
  float* gate_up_gradient = nullptr;    // [T, 2 * F], written
  int64_t dim = 0;                      // F
};
void swiglu_gradient(const SwigluGradientRows& rows, int64_t first, int64_t end);

}  // namespace msa::kernels
