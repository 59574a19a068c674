#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/row_numbers.cuh"
#include "msa/kernels/swiglu_gradient.h"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;

template <bool kWritesOut>
__global__ void __launch_bounds__(kThreads)
    swiglu_gradient_kernel(SwigluGradientParams p, unsigned row_eights) {
  await_launched_before();
  release_launched_after();
  const unsigned item = blockIdx.x * kThreads + threadIdx.x;
  const int64_t row = item / row_eights;
  if (row >= p.num_tokens) return;
  const int64_t gates = row * 2 * p.dim + item % row_eights * kEight;
  const int64_t place = int64_t{item} * kEight;
  float gate[kEight];
  float up[kEight];
  float gradient[kEight];
  read_eight(p.gate_up + gates, gate);
  read_eight(p.gate_up + gates + p.dim, up);
  read_eight(p.out_gradient + place, gradient);
  float out[kEight];
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    // silu(x) = x s, silu'(x) = s + x s (1 - s), with s = 1 / (1 + e^-x).
    const float sigmoid = 1.0F / (1.0F + __expf(-gate[i]));
    const float opened = gate[i] * sigmoid;
    const float slope = sigmoid + opened * (1.0F - sigmoid);
    out[i] = opened * up[i];
    gate[i] = gradient[i] * up[i] * slope;
    up[i] = gradient[i] * opened;
  }
  write_eight(p.gate_up_gradient + gates, gate);
  write_eight(p.gate_up_gradient + gates + p.dim, up);
  if constexpr (kWritesOut) write_eight(p.out + place, out);
}

}  // namespace

void swiglu_gradient_cuda(const SwigluGradientParams& params, CudaStream stream) {
  if (params.num_tokens == 0) return;
  MSA_CHECK(params.dim > 0 && params.dim % kEight == 0, "swiglu_gradient: rows of ", params.dim,
            " numbers are not a multiple of 8");
  const int64_t row_eights = params.dim / kEight;
  MSA_CHECK(params.num_tokens <= 0x7fffffff / row_eights, "swiglu_gradient: ", params.num_tokens,
            " rows of ", params.dim, " are too many for one launch");
  const int64_t num_blocks = (params.num_tokens * row_eights + kThreads - 1) / kThreads;
  auto* kernel =
      params.out == nullptr ? swiglu_gradient_kernel<false> : swiglu_gradient_kernel<true>;
  launch_dependent(kernel, static_cast<unsigned>(num_blocks), kThreads, 0,
                   static_cast<cudaStream_t>(stream), params, static_cast<unsigned>(row_eights));
  expect_launched("swiglu_gradient");
}

}  // namespace msa::kernels
