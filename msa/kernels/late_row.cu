// A writer that is late.

#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/late_row.h"

namespace msa::kernels {
namespace {

constexpr int64_t kCycles = 400'000;

__global__ void write_late_kernel(LateRowParams p) {
  release_launched_after();
  const int64_t start = clock64();
  while (clock64() - start < kCycles) {
  }
  for (int64_t i = threadIdx.x; i < p.count; i += blockDim.x) {
    p.to[i] = p.from[i];
    p.narrow_to[i].bits = static_cast<uint16_t>(__float_as_uint(p.from[i]) >> 16);
  }
}

}  // namespace

void write_late(const LateRowParams& params, CudaStream stream) {
  write_late_kernel<<<1, 256, 0, static_cast<cudaStream_t>(stream)>>>(params);
  expect_launched("write_late");
}

}  // namespace msa::kernels
