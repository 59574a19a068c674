#pragma once
// Matrix times vector on a GPU, for one token: bound by the bytes of the matrix, which are on
// their way before the kernel ahead has ended.

#include <cstddef>
#include <cstdint>

#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/weight_rows.h"

namespace msa::kernels {

/// y[r] = (adds ? y[r] : 0) + sum over k of W[r][k] * x'[k], with x' = rms_norm(x) (RmsNormParams)
/// if there is a norm, else x. Gated: W[r] is a gate, W[M + r] is what it lets through, and
/// y[r] = silu(W[r] x') * W[M + r] x'. Sums are float32 in an order that depends on K and the type
/// alone. For quantised rows x' is rounded, 16 columns at a time, to whole multiples of their
/// largest size / 32639. Pointers are to memory that the device can address, weights, x and norm
/// 16-byte aligned; y does not overlap x.
struct DeviceGemvParams {
  const void* weight = nullptr;             // [M] rows as weight_layout of K; gated: [2 * M]
  WeightType type = WeightType::kBFloat16;  // of the rows
  const float* x = nullptr;                 // [K]
  const float* norm = nullptr;              // [K] weights; null: x is not normalised
  float eps = 0;
  float* y = nullptr;       // [M], written; may be null where there is a token
  int64_t num_rows = 0;     // M in [1, 2^32 - 1)
  int64_t num_columns = 0;  // K up to kLongestGemvRow, a multiple of weight_column_step
  bool is_gated = false;
  bool adds = false;
  int32_t* token = nullptr;              // one number, written: the r of the largest y, the lowest
                                         // of equals, -1 if one is NaN; null: not asked for
  std::byte* token_workspace = nullptr;  // kTokenWorkspaceBytes, 8-byte aligned, for `token`: zero
                                         // before the first call; every call leaves it zero
};
constexpr int64_t kLongestGemvRow = 32768;
constexpr int64_t kTokenWorkspaceBytes = 16;

/// Queues one launch and returns; may be captured in a CUDA graph. Launched as a dependent of the
/// kernel before it (dependent_launch.cuh): before that has ended, weights and the norm are read,
/// so they must be older; x and y may be its work. Throws Error(kInvalidArgument) for shapes
/// outside the ranges above, Error(kDevice) if it cannot be launched.
void gemv_cuda(const DeviceGemvParams& params, CudaStream stream);

}  // namespace msa::kernels
