#pragma once
// Sums of products on tensor cores stand in pairs on four neighbouring lanes; here they become
// whole 16 bytes of a row, for writing.

#include <cuda_runtime.h>

#include <cstdint>

#include "msa/kernels/device_code.cuh"

namespace msa::kernels {

/// Four neighbouring lanes have one part each of four rows of parts; each gets one whole row: lane
/// l that of row l % 4.
__device__ inline void turn_quad(uint32_t (&part)[4], int lane) {
  const auto exchange = [&](int step, uint32_t& first, uint32_t& second) {
    const bool is_upper = (lane & step) != 0;
    const uint32_t other = __shfl_xor_sync(kAllLanes, is_upper ? first : second, step);
    (is_upper ? first : second) = other;
  };
  exchange(1, part[0], part[1]);
  exchange(1, part[2], part[3]);
  exchange(2, part[0], part[2]);
  exchange(2, part[1], part[3]);
}

}  // namespace msa::kernels
