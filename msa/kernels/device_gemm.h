#pragma once
// Products of many rows with a weight matrix on a GPU, by cuBLASLt.

#include <cstddef>
#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/number_type.h"

namespace msa::kernels {

/// out[t][m] = (adds ? out[t][m] : 0) + sum over k of x[t][k] * weight[m][k]; sums are float32.
/// Pointers are to device memory, 16-byte aligned; 256 bytes are best.
struct DeviceGemmParams {
  const BFloat16* x = nullptr;                  // [T, K]
  const BFloat16* weight = nullptr;             // [M, K]
  void* out = nullptr;                          // [T, M] of out_type, written
  NumberType out_type = NumberType::kBFloat16;  // or kFloat32
  int64_t num_rows = 0;                         // T > 0
  int64_t num_outputs = 0;                      // M > 0, a multiple of 8
  int64_t num_columns = 0;                      // K > 0, a multiple of 8
  bool adds = false;
};

constexpr int64_t kDeviceGemmWorkspaceBytes = int64_t{32} << 20;

/// Queues the product on `stream`. The way of a shape is chosen once and kept: equal calls give
/// equal bits. `workspace` has kDeviceGemmWorkspaceBytes and may serve one stream at a time. May be
/// called from several threads. Throws Error(kDevice) if cuBLASLt refuses.
void device_gemm_cuda(const DeviceGemmParams& params, std::byte* workspace, CudaStream stream);

}  // namespace msa::kernels
