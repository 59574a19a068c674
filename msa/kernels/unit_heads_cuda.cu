// A head on kLanes neighbouring lanes, eight numbers each. With u = x / |x|, the gradient of x is
// (g - u * (g . u)) / |x|.

#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/row_numbers.cuh"
#include "msa/kernels/unit_heads.h"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;
constexpr float kShortest = 1e-12F;

template <int kLanes>
__device__ float head_sum(float value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, step);
  }
  return value;
}

/// Where this thread's eight numbers begin; negative if it has none.
template <int kLanes, typename Params>
__device__ int64_t place_of(const Params& p) {
  const int64_t head = int64_t{blockIdx.x} * (kThreads / kLanes) + threadIdx.x / kLanes;
  const int64_t column = threadIdx.x % kLanes * kEight;
  return head < p.num_heads && column < p.head_dim ? head * p.head_dim + column : -1;
}

template <int kLanes>
__global__ void __launch_bounds__(kThreads) unit_heads_kernel(UnitHeadsParams p) {
  await_launched_before();
  release_launched_after();
  const int64_t place = place_of<kLanes>(p);
  float x[kEight] = {};
  if (place >= 0) read_eight(p.x + place, x);
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kEight; ++i) squares += x[i] * x[i];
  const float length = fmaxf(sqrtf(head_sum<kLanes>(squares)), kShortest);
#pragma unroll
  for (int i = 0; i < kEight; ++i) x[i] /= length;
  if (place >= 0) write_eight(p.out + place, x);
}

template <int kLanes>
__global__ void __launch_bounds__(kThreads) unit_heads_gradient_kernel(UnitHeadsGradientParams p) {
  await_launched_before();
  release_launched_after();
  const int64_t place = place_of<kLanes>(p);
  float x[kEight] = {};
  float gradient[kEight] = {};
  if (place >= 0) {
    read_eight(p.x + place, x);
    read_eight(p.out_gradient + place, gradient);
  }
  float squares = 0;
  float dot = 0;
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    squares += x[i] * x[i];
    dot += gradient[i] * x[i];
  }
  const float length = sqrtf(head_sum<kLanes>(squares));
  dot = head_sum<kLanes>(dot);
  const float factor = length < kShortest ? 0.0F : 1.0F / length;
  const float along = dot * factor;
#pragma unroll
  for (int i = 0; i < kEight; ++i) gradient[i] = (gradient[i] - x[i] * factor * along) * factor;
  if (place >= 0) write_eight(p.x_gradient + place, gradient);
}

/// Launches the kernel of the lanes that a head of this size takes.
template <typename Kernel, typename Params>
void launch_heads(const char* what, Kernel* (*kernel_of)(int), const Params& params,
                  CudaStream stream) {
  if (params.num_heads == 0) return;
  MSA_CHECK(
      params.head_dim > 0 && params.head_dim <= kLargestUnitHead && params.head_dim % kEight == 0,
      what, ": heads have a multiple of 8 numbers up to ", kLargestUnitHead, ", got ",
      params.head_dim);
  MSA_CHECK(params.num_heads <= 0x7fffffff, what, ": ", params.num_heads,
            " heads are too many for one launch");
  int num_lanes = 1;
  while (num_lanes * kEight < params.head_dim) num_lanes *= 2;
  const int64_t heads_of_block = kThreads / num_lanes;
  const int64_t num_blocks = (params.num_heads + heads_of_block - 1) / heads_of_block;
  launch_dependent(kernel_of(num_lanes), static_cast<unsigned>(num_blocks), kThreads, 0,
                   static_cast<cudaStream_t>(stream), params);
  expect_launched(what);
}

auto* forward_of(int num_lanes) {
  switch (num_lanes) {
    case 1:
      return unit_heads_kernel<1>;
    case 2:
      return unit_heads_kernel<2>;
    case 4:
      return unit_heads_kernel<4>;
    case 8:
      return unit_heads_kernel<8>;
    case 16:
      return unit_heads_kernel<16>;
    default:
      return unit_heads_kernel<32>;
  }
}

auto* backward_of(int num_lanes) {
  switch (num_lanes) {
    case 1:
      return unit_heads_gradient_kernel<1>;
    case 2:
      return unit_heads_gradient_kernel<2>;
    case 4:
      return unit_heads_gradient_kernel<4>;
    case 8:
      return unit_heads_gradient_kernel<8>;
    case 16:
      return unit_heads_gradient_kernel<16>;
    default:
      return unit_heads_gradient_kernel<32>;
  }
}

}  // namespace

void unit_heads_cuda(const UnitHeadsParams& params, CudaStream stream) {
  launch_heads("unit_heads", forward_of, params, stream);
}

void unit_heads_gradient_cuda(const UnitHeadsGradientParams& params, CudaStream stream) {
  launch_heads("unit_heads_gradient", backward_of, params, stream);
}

}  // namespace msa::kernels
