#pragma once
// For tests: work that lets the kernel behind it begin, and writes long after what that reads.

#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

struct LateRowParams {
  const float* from = nullptr;    // [count]
  float* to = nullptr;            // [count], written
  BFloat16* narrow_to = nullptr;  // [count], written: rounded towards zero
  int64_t count = 0;
};

/// Device memory. Begins behind all work ahead of it, and ends some 200 us later.
void write_late(const LateRowParams& params, CudaStream stream);

}  // namespace msa::kernels
