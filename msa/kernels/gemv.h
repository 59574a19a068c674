#pragma once
// Matrix times vector, for decoding one token: bound by the bytes of the matrix.

#include <cstdint>

#include "msa/kernels/number_type.h"

namespace msa::kernels {

/// y[r] = (adds ? y[r] : 0) + sum over k of weight[r][k] * x[k]. bfloat16 weights widen exactly;
/// sums are float32 in a fixed order, whatever the slices.
struct GemvParams {
  const void* weight = nullptr;            // [M, K], rows side by side
  NumberType type = NumberType::kFloat32;  // or kBFloat16
  const float* x = nullptr;                // [K]
  float* y = nullptr;                      // [M], written
  int64_t num_columns = 0;                 // K
  bool adds = false;
};

/// Rows [first, end).
void gemv(const GemvParams& params, int64_t first, int64_t end);

}  // namespace msa::kernels
