// One block a token: its largest value, its rounded row, and how far the rounding moved it. Further
// blocks fill scratch with zeros.

#include <cuda_bf16.h>

#include "msa/kernels/block_folds.cuh"
#include "msa/kernels/clear_zeros.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/token_source.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpThreads;

template <bool kIsInt8>
__global__ void __launch_bounds__(kThreads)
    prepare_kernel(const float* query, int64_t key_dim, float longest_key,
                   const __grid_constant__ TokenSpans spans, RouteBatchSpace space) {
  __shared__ float shared[kWarps];
  await_launched_before();
  release_launched_after();
  const int token = static_cast<int>(blockIdx.x);
  if (token >= space.num_tokens) {
    const auto num_tokens = static_cast<unsigned>(space.num_tokens);
    clear_zeros(space.early_zeros, blockIdx.x - num_tokens, gridDim.x - num_tokens);
    return;
  }
  const auto [question, source] = TokenSource(spans, token);
  const float* row = query + source * key_dim;
  uint8_t* out = space.query + token * space.query_row_bytes;

  float largest = 0;
  for (int64_t i = threadIdx.x; i < key_dim; i += kThreads) largest = fmaxf(largest, fabsf(row[i]));
  largest = block_max<kThreads>(largest, shared);
  const float scale = kIsInt8 ? largest / 127.0F : 1.0F;
  const float factor = largest > 1e-36F ? 127.0F / largest : 0.0F;

  float missed = 0;
  float squares = 0;
  constexpr int kValueBytes = kIsInt8 ? 1 : 2;
  for (int64_t i = threadIdx.x; i < space.query_row_bytes / kValueBytes; i += kThreads) {
    const float value = i < key_dim ? row[i] : 0.0F;
    float rounded = 0;
    if constexpr (kIsInt8) {
      const float steps = rintf(value * factor);
      reinterpret_cast<int8_t*>(out)[i] = static_cast<int8_t>(steps);
      rounded = steps * scale;
    } else {
      const __nv_bfloat16 half = __float2bfloat16_rn(value);
      reinterpret_cast<__nv_bfloat16*>(out)[i] = half;
      rounded = __bfloat162float(half);
    }
    missed += (value - rounded) * (value - rounded);
    squares += value * value;
  }
  missed = block_sum<kThreads>(missed, shared);
  squares = block_sum<kThreads>(squares, shared);
  if (threadIdx.x != 0) return;
  space.token_scale[token] = scale;
  if (token % kTokenStep == 0) space.block_owner[token / kTokenStep] = question;
  // As error_of in route_query.cpp, for two scores; sums here are off by less than 2^-10 of their
  // value.
  const auto count = static_cast<float>(key_dim);
  const float error =
      sqrtf(missed) + (count + 8) * 0x1p-23F * sqrtf(squares) + sqrtf(count) * 0x1p-62F;
  space.window[token] = 2.004F * error * longest_key;
}

}  // namespace

void prepare_queries(const RouteBatchParams& params, const TokenSpans& spans,
                     const RouteBatchSpace& space, CudaStream stream) {
  auto* kernel =
      params.key_type == NumberType::kInt8 ? prepare_kernel<true> : prepare_kernel<false>;
  const int multiprocessors = device_attribute(cudaDevAttrMultiProcessorCount);
  launch_dependent(kernel, num_prepare_blocks(space, multiprocessors), kThreads, 0,
                   static_cast<cudaStream_t>(stream), params.query, params.key_dim,
                   params.longest_key, spans, space);
}

}  // namespace msa::kernels
