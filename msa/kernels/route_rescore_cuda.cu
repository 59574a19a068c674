// Every block looks through documents 256 at a time; those within the window are scored by all its
// warps, which share the tokens.

#include <cuda_bf16.h>

#include <algorithm>

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/route_batch_parts.h"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpThreads;

constexpr int kPartBytes = 16;  // of a key, loaded together

/// Value i of a part.
template <bool kIsInt8>
__device__ float value_of(const uint32_t (&words)[4], int i) {
  if constexpr (kIsInt8) {
    return static_cast<float>(static_cast<int8_t>(words[i / 4] >> (i % 4 * 8)));
  } else {
    return __uint_as_float(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000U);
  }
}

/// query . key, by a warp.
template <bool kIsInt8>
__device__ float dot(const float* query, const uint8_t* key, int64_t key_dim, int lane) {
  constexpr int kValueBytes = kIsInt8 ? 1 : 2;
  constexpr int kValues = kPartBytes / kValueBytes;
  float sum = 0;
  for (int64_t i = static_cast<int64_t>(lane) * kValues; i < key_dim; i += kWarpThreads * kValues) {
    const uint4 part = *reinterpret_cast<const uint4*>(key + i * kValueBytes);
    const uint32_t words[4] = {part.x, part.y, part.z, part.w};
#pragma unroll
    for (int v = 0; v < kValues; v += 4) {
      const float4 q = *reinterpret_cast<const float4*>(query + i + v);
      sum += q.x * value_of<kIsInt8>(words, v);
      sum += q.y * value_of<kIsInt8>(words, v + 1);
      sum += q.z * value_of<kIsInt8>(words, v + 2);
      sum += q.w * value_of<kIsInt8>(words, v + 3);
    }
  }
  return warp_sum(sum);
}

template <bool kIsInt8>
__global__ void __launch_bounds__(kThreads)
    rescore_kernel(RouteBatchParams p, const __grid_constant__ TokenSpans spans,
                   RouteBatchSpace space) {
  __shared__ int64_t waiting[kThreads];
  __shared__ int num_waiting;
  __shared__ float best_of_warp[kWarps];
  const int question = static_cast<int>(blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  uint32_t* score = space.score + question * p.num_documents;
  const uint32_t* hidden =
      p.hidden == nullptr ? nullptr : p.hidden + question * ((p.num_documents + 31) / 32);
  const uint64_t last = space.best[(question + 1) * p.top_k - 1];
  // Fewer documents than asked for: all that were seen are chosen.
  const float lowest =
      last == 0 ? -INFINITY
                : from_ordered(static_cast<uint32_t>(last >> 32)) - space.window[question];
  const int64_t row_bytes = p.key_dim * (kIsInt8 ? 1 : 2);
  const auto* keys = static_cast<const uint8_t*>(p.key);

  for (int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads; first < p.num_documents;
       first += static_cast<int64_t>(gridDim.x) * kThreads) {
    __syncthreads();
    if (threadIdx.x == 0) num_waiting = 0;
    __syncthreads();
    const int64_t mine = first + threadIdx.x;
    if (mine < p.num_documents && score[mine] != 0 && from_ordered(score[mine]) >= lowest &&
        (hidden == nullptr || (hidden[mine / 32] >> (mine % 32) & 1U) == 0)) {
      waiting[atomicAdd(&num_waiting, 1)] = mine;
    }
    __syncthreads();
    for (int w = 0; w < num_waiting; ++w) {
      const int64_t document = waiting[w];
      float best = -INFINITY;
      for (int64_t chunk = p.first_chunk[document]; chunk < p.first_chunk[document + 1]; ++chunk) {
        float most = -INFINITY;
        for (int token = spans.given[question] + warp; token < spans.given[question + 1];
             token += kWarps) {
          most = fmaxf(most, dot<kIsInt8>(p.query + token * p.key_dim, keys + chunk * row_bytes,
                                          p.key_dim, lane));
        }
        best = fmaxf(best, kIsInt8 ? most * p.key_scale[chunk] : most);
      }
      if (lane == 0) best_of_warp[warp] = best;
      __syncthreads();
      if (threadIdx.x == 0) {
        for (int i = 1; i < kWarps; ++i) best = fmaxf(best, best_of_warp[i]);
        score[document] = to_ordered(best);
      }
      __syncthreads();
    }
  }
}

}  // namespace

void rescore_documents(const RouteBatchParams& params, const TokenSpans& spans,
                       const RouteBatchSpace& space, CudaStream stream) {
  constexpr int kBlocksEach = 4;
  const int64_t most = (params.num_documents + kThreads - 1) / kThreads;
  const int64_t blocks =
      std::min<int64_t>(most, kBlocksEach * device_attribute(cudaDevAttrMultiProcessorCount));
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(params.num_questions));
  auto* kernel =
      params.key_type == NumberType::kInt8 ? rescore_kernel<true> : rescore_kernel<false>;
  kernel<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(params, spans, space);
  expect_launched("rescore_documents");
}

}  // namespace msa::kernels
