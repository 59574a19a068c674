#pragma once
// How long routing keys are: what bounds the error of a scan with rounded queries.

#include <cstddef>
#include <cstdint>

#include "msa/kernels/number_type.h"

namespace msa::memory {

struct KeyRows {
  const std::byte* row = nullptr;  // [rows, F] of type
  const float* scale = nullptr;    // [rows], kInt8 only
  int64_t num_rows = 0;
  int64_t dim = 0;                                            // F
  kernels::NumberType type = kernels::NumberType::kBFloat16;  // kBFloat16 or kInt8
};

/// At least the length of every row, and no more than a millionth above that of the longest. 0 for
/// no rows.
float longest_key(const KeyRows& keys);

}  // namespace msa::memory
