#pragma once
// Matrices of bfloat16 into the integers that decoding reads, on a GPU.

#include <cstddef>
#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/weight_rows.h"

namespace msa::kernels {

/// The bytes that quantize_content makes of the same values, as one head of K.
struct QuantizeWeightsParams {
  const BFloat16* weight = nullptr;     // [M, K], finite, 16-byte aligned
  std::byte* rows = nullptr;            // [M, row_bytes] of weight_layout, written, 16-byte aligned
  WeightType type = WeightType::kInt8;  // or kInt4
  int64_t num_rows = 0;                 // M in [1, 2^31)
  int64_t num_columns = 0;              // K in [1, 2^31), a multiple of 16
};

/// Every pointer is to memory that the device can address. Queues its work and returns. Throws
/// Error(kInvalidArgument) for sizes and types outside the ranges above, Error(kDevice) if it
/// cannot be launched.
void quantize_weights_cuda(const QuantizeWeightsParams& params, CudaStream stream);

}  // namespace msa::kernels
