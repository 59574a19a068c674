// The documents within the window are listed; then every warp of the GPU takes a document and two
// tokens at a time.

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

constexpr int kKeysTogether = 4;  // share a look at the queries
constexpr int kTokensTogether = 2;

/// The largest of query . key over kTokensTogether queries, `step` floats apart, and `num_keys` <=
/// kKeysTogether keys side by side, times the keys' scales; by a warp.
template <bool kIsInt8>
__device__ float best_dot(const float* query, int64_t step, const uint8_t* key, const float* scale,
                          int num_keys, int64_t key_dim, int lane) {
  constexpr int kValueBytes = kIsInt8 ? 1 : 2;
  constexpr int kValues = kPartBytes / kValueBytes;
  const int64_t row_bytes = key_dim * kValueBytes;
  float sum[kTokensTogether][kKeysTogether] = {};
  for (int64_t i = static_cast<int64_t>(lane) * kValues; i < key_dim; i += kWarpThreads * kValues) {
    float4 q[kTokensTogether][kValues / 4];
#pragma unroll
    for (int t = 0; t < kTokensTogether; ++t) {
#pragma unroll
      for (int v = 0; v < kValues / 4; ++v) {
        q[t][v] = *reinterpret_cast<const float4*>(query + t * step + i + 4 * v);
      }
    }
#pragma unroll
    for (int n = 0; n < kKeysTogether; ++n) {
      if (n >= num_keys) break;
      const uint4 part = *reinterpret_cast<const uint4*>(key + n * row_bytes + i * kValueBytes);
      const uint32_t words[4] = {part.x, part.y, part.z, part.w};
#pragma unroll
      for (int t = 0; t < kTokensTogether; ++t) {
#pragma unroll
        for (int v = 0; v < kValues / 4; ++v) {
          sum[t][n] += q[t][v].x * value_of<kIsInt8>(words, 4 * v);
          sum[t][n] += q[t][v].y * value_of<kIsInt8>(words, 4 * v + 1);
          sum[t][n] += q[t][v].z * value_of<kIsInt8>(words, 4 * v + 2);
          sum[t][n] += q[t][v].w * value_of<kIsInt8>(words, 4 * v + 3);
        }
      }
    }
  }
  float best = -INFINITY;
#pragma unroll
  for (int n = 0; n < kKeysTogether; ++n) {
    if (n >= num_keys) break;
    float dot = warp_sum(sum[0][n]);
#pragma unroll
    for (int t = 1; t < kTokensTogether; ++t) dot = fmaxf(dot, warp_sum(sum[t][n]));
    best = fmaxf(best, kIsInt8 ? dot * scale[n] : dot);
  }
  return best;
}

__global__ void __launch_bounds__(kThreads)
    find_candidates_kernel(RouteBatchSpace space, const uint32_t* hidden, int64_t num_documents,
                           int64_t top_k) {
  const int question = static_cast<int>(blockIdx.y);
  const uint32_t* score = space.score + question * num_documents;
  if (hidden != nullptr) hidden += question * ((num_documents + 31) / 32);
  const uint64_t last = space.best[(question + 1) * top_k - 1];
  // Fewer documents than asked for: all that were seen are chosen.
  const float lowest =
      last == 0 ? -INFINITY
                : from_ordered(static_cast<uint32_t>(last >> 32)) - space.window[question];
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t n = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; n < num_documents;
       n += step) {
    if (score[n] == 0 || from_ordered(score[n]) < lowest) continue;
    if (hidden != nullptr && (hidden[n / 32] >> (n % 32) & 1U) != 0) continue;
    const int64_t place = question * num_documents + atomicAdd(space.num_candidates + question, 1U);
    space.candidate[place] = static_cast<int32_t>(n);
    space.fresh[place] = 0;
  }
}

template <bool kIsInt8>
__global__ void __launch_bounds__(kThreads)
    rescore_kernel(RouteBatchParams p, const __grid_constant__ TokenSpans spans,
                   RouteBatchSpace space) {
  const int question = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarpThreads;
  const int64_t num_warps = static_cast<int64_t>(gridDim.x) * kWarps;
  const int first_token = spans.given[question];
  const int num_tokens = spans.given[question + 1] - first_token;
  const int64_t steps = (num_tokens + kTokensTogether - 1) / kTokensTogether;
  const int64_t num_tasks = space.num_candidates[question] * steps;
  const int64_t row_bytes = p.key_dim * (kIsInt8 ? 1 : 2);
  const auto* keys = static_cast<const uint8_t*>(p.key);
  for (int64_t task = warp; task < num_tasks; task += num_warps) {
    const int64_t place = question * p.num_documents + task / steps;
    const int64_t document = space.candidate[place];
    // The last pair of an odd number takes the token before it again.
    const int64_t token =
        max(min(task % steps * kTokensTogether, static_cast<int64_t>(num_tokens) - kTokensTogether),
            int64_t{0});
    const float* query = p.query + (first_token + token) * p.key_dim;
    const int64_t step = num_tokens < kTokensTogether ? 0 : p.key_dim;
    const int64_t end = p.first_chunk[document + 1];
    float best = -INFINITY;
    for (int64_t chunk = p.first_chunk[document]; chunk < end; chunk += kKeysTogether) {
      const auto count = static_cast<int>(min(end - chunk, int64_t{kKeysTogether}));
      best = fmaxf(best, best_dot<kIsInt8>(query, step, keys + chunk * row_bytes,
                                           p.key_scale + chunk, count, p.key_dim, lane));
    }
    if (lane == 0) atomicMax(space.fresh + place, to_ordered(best));
  }
}

}  // namespace

void rescore_documents(const RouteBatchParams& params, const TokenSpans& spans,
                       const RouteBatchSpace& space, CudaStream stream) {
  constexpr int kBlocksEach = 4;
  const int64_t blocks = kBlocksEach * device_attribute(cudaDevAttrMultiProcessorCount);
  const int64_t most = (params.num_documents + kThreads - 1) / kThreads;
  const auto questions = static_cast<unsigned>(params.num_questions);
  const auto at = static_cast<cudaStream_t>(stream);
  find_candidates_kernel<<<dim3(static_cast<unsigned>(std::min(blocks, most)), questions), kThreads,
                           0, at>>>(space, params.hidden, params.num_documents, params.top_k);
  expect_launched("find_candidates");
  auto* kernel =
      params.key_type == NumberType::kInt8 ? rescore_kernel<true> : rescore_kernel<false>;
  kernel<<<dim3(static_cast<unsigned>(blocks), questions), kThreads, 0, at>>>(params, spans, space);
  expect_launched("rescore_documents");
}

}  // namespace msa::kernels
