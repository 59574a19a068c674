#include <algorithm>

#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/device_rows.h"
#include "msa/kernels/row_numbers.cuh"

namespace msa::kernels {
namespace {

constexpr int kMostThreads = 1024;
constexpr int kMostWarps = kMostThreads / kWarpThreads;
constexpr int kHeld = 2;  // eights of a row that a thread holds in registers while it is summed

/// Whole warps for `count` items, one each.
unsigned threads_for(int64_t count) {
  const int64_t whole = (count + kWarpThreads - 1) / kWarpThreads * kWarpThreads;
  return static_cast<unsigned>(std::min<int64_t>(whole, kMostThreads));
}

void expect_rows(const char* what, int64_t num_rows, int64_t dim) {
  MSA_CHECK(dim > 0 && dim % kEight == 0, what, ": rows of ", dim,
            " numbers are not a multiple of 8");
  MSA_CHECK(num_rows <= 0x7fffffff, what, ": at most 2^31 - 1 rows at once, got ", num_rows);
}

template <typename In>
__global__ void __launch_bounds__(kMostThreads) embed_rows_kernel(EmbedRowsParams p) {
  await_launched_before();
  release_launched_after();
  const int64_t row = __ldcg(p.token + blockIdx.x);
  const In* from = static_cast<const In*>(p.embedding) + row * p.dim;
  float* to = p.x + blockIdx.x * p.dim;
  for (int64_t i = threadIdx.x * kEight; i < p.dim; i += blockDim.x * kEight) {
    float numbers[kEight];
    read_eight(from + i, numbers);
    write_eight(to + i, numbers);
  }
}

/// Every thread receives the sum over the block, formed in one order.
__device__ float block_sum(float value, float* shared) {
  const unsigned lane = threadIdx.x % kWarpThreads;
  value = warp_sum(value);
  if (lane == 0) shared[threadIdx.x / kWarpThreads] = value;
  __syncthreads();
  return warp_sum(lane < blockDim.x / kWarpThreads ? shared[lane] : 0.0F);
}

template <typename Out>
__global__ void __launch_bounds__(kMostThreads) rms_norm_kernel(RmsNormParams p) {
  __shared__ float shared[kMostWarps];
  await_launched_before();
  release_launched_after();
  const float* x = p.x + blockIdx.x * p.dim;
  Out* out = static_cast<Out*>(p.out) + blockIdx.x * p.dim;
  const int64_t first = threadIdx.x * kEight;
  const int64_t step = blockDim.x * kEight;
  float held[kHeld][kEight] = {};
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    if (first + j * step < p.dim) read_eight(x + first + j * step, held[j]);
  }
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
#pragma unroll
    for (int i = 0; i < kEight; ++i) squares += held[j][i] * held[j][i];
  }
  squares = block_sum(squares, shared);
  const float factor = 1.0F / sqrtf(squares / static_cast<float>(p.dim) + p.eps);
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int64_t column = first + j * step;
    if (column >= p.dim) break;
    float weight[kEight];
    read_constants(p.weight + column, weight);
#pragma unroll
    for (int i = 0; i < kEight; ++i) held[j][i] = weight[i] * (held[j][i] * factor);
    write_eight(out + column, held[j]);
  }
}

template <typename Number>
__global__ void __launch_bounds__(kMostThreads) swiglu_kernel(SwigluParams p, unsigned num_parts) {
  await_launched_before();
  release_launched_after();
  const int64_t row = blockIdx.x / num_parts;
  const int64_t column = ((blockIdx.x % num_parts) * int64_t{blockDim.x} + threadIdx.x) * kEight;
  if (column >= p.dim) return;
  const Number* gates = static_cast<const Number*>(p.gate_up) + row * 2 * p.dim + column;
  float gate[kEight];
  float up[kEight];
  read_eight(gates, gate);
  read_eight(gates + p.dim, up);
#pragma unroll
  for (int i = 0; i < kEight; ++i) up[i] *= silu(gate[i]);
  write_eight(static_cast<Number*>(p.out) + row * p.dim + column, up);
}

}  // namespace

void embed_rows_cuda(const EmbedRowsParams& params, CudaStream stream) {
  if (params.num_tokens == 0) return;
  expect_rows("embed_rows", params.num_tokens, params.dim);
  auto* kernel =
      params.type == NumberType::kBFloat16 ? embed_rows_kernel<BFloat16> : embed_rows_kernel<float>;
  launch_dependent(kernel, static_cast<unsigned>(params.num_tokens),
                   threads_for(params.dim / kEight), 0, static_cast<cudaStream_t>(stream), params);
  expect_launched("embed_rows");
}

void rms_norm_cuda(const RmsNormParams& params, int64_t num_tokens, CudaStream stream) {
  if (num_tokens == 0) return;
  expect_rows("rms_norm", num_tokens, params.dim);
  MSA_CHECK(params.dim <= kLongestNormedRow, "rms_norm: rows have at most ", kLongestNormedRow,
            " numbers, got ", params.dim);
  auto* kernel =
      params.out_type == NumberType::kBFloat16 ? rms_norm_kernel<BFloat16> : rms_norm_kernel<float>;
  const int64_t num_eights = params.dim / kEight;
  launch_dependent(kernel, static_cast<unsigned>(num_tokens),
                   threads_for((num_eights + kHeld - 1) / kHeld), 0,
                   static_cast<cudaStream_t>(stream), params);
  expect_launched("rms_norm");
}

void swiglu_cuda(const SwigluParams& params, int64_t num_tokens, CudaStream stream) {
  if (num_tokens == 0) return;
  expect_rows("swiglu", num_tokens, params.dim);
  auto* kernel =
      params.type == NumberType::kBFloat16 ? swiglu_kernel<BFloat16> : swiglu_kernel<float>;
  constexpr int64_t kThreads = 256;
  const int64_t num_eights = params.dim / kEight;
  const int64_t num_parts = (num_eights + kThreads - 1) / kThreads;
  const unsigned threads = threads_for((num_eights + num_parts - 1) / num_parts);
  MSA_CHECK(num_tokens * num_parts <= 0x7fffffff, "swiglu: ", num_tokens, " rows of ", params.dim,
            " are too many for one launch");
  launch_dependent(kernel, static_cast<unsigned>(num_tokens * num_parts), threads, 0,
                   static_cast<cudaStream_t>(stream), params, static_cast<unsigned>(num_parts));
  expect_launched("swiglu");
}

}  // namespace msa::kernels
