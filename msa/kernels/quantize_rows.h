#pragma once
// Rows of float32 into the types that memories are stored in.

#include <cstdint>

#include "msa/kernels/number_type.h"

namespace msa::kernels {

/// kFloat32 copies. kBFloat16 rounds to nearest, ties to even. kInt8: scale = max |row| / 127,
/// value = round(row / scale).
struct QuantizeRowsParams {
  const float* row = nullptr;  // [N, F]
  int64_t num_rows = 0;        // N
  int64_t dim = 0;             // F
  NumberType type = NumberType::kFloat32;
  void* out = nullptr;     // [N, F] of type, written
  float* scale = nullptr;  // [N], written for kInt8
};
void quantize_rows(const QuantizeRowsParams& params);

}  // namespace msa::kernels
