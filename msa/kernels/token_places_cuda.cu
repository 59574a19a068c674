#include "msa/kernels/device_code.cuh"
#include "msa/kernels/token_places.h"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;

__device__ void place(const TokenPlaces& places, int64_t layer, int32_t first, int32_t end) {
  const int32_t prefix = places.prefix[layer];
  places.first_row[layer] = prefix + first;
  places.key_first[2 * layer] = 0;
  places.key_first[2 * layer + 1] = prefix + end;
}

__device__ void place_queries(const TokenPlaces& places, int32_t count) {
  places.query_first[0] = 0;
  places.query_first[1] = count;
  places.query_last[0] = 0;
  places.query_last[1] = 1;
}

__global__ void place_tokens_kernel(PlaceTokensParams p) {
  const auto first = static_cast<int32_t>(p.first);
  const auto end = static_cast<int32_t>(p.end);
  for (int64_t layer = p.first_layer + threadIdx.x; layer < p.end_layer; layer += kThreads) {
    place(p.places, layer, first, end);
  }
  if (threadIdx.x == 0) place_queries(p.places, end - first);
}

__global__ void begin_step_kernel(BeginStepParams p) {
  const auto first = static_cast<int32_t>(p.num_tokens);
  for (int64_t layer = threadIdx.x; layer < p.num_layers; layer += kThreads) {
    place(p.places, layer, first, first + 1);
  }
  if (threadIdx.x != 0) return;
  place_queries(p.places, 1);
  const int32_t token = p.next_token != nullptr ? *p.next_token : p.token;
  if (p.next_token_seen != nullptr) *p.next_token_seen = token;
  *p.token_out = max(token, 0);
  *p.position_out = static_cast<int32_t>(p.first_position) + first;
  *p.row_out = first;
}

__global__ void store_row_kernel(StoreRowParams p) {
  float* out = p.rows + static_cast<int64_t>(*p.row) * p.dim;
  for (int64_t i = threadIdx.x; i < p.dim; i += kThreads) out[i] = p.x[i];
}

}  // namespace

void place_tokens_cuda(const PlaceTokensParams& params, CudaStream stream) {
  place_tokens_kernel<<<1, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(params);
  expect_launched("place_tokens");
}

void begin_step_cuda(const BeginStepParams& params, CudaStream stream) {
  begin_step_kernel<<<1, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(params);
  expect_launched("begin_step");
}

void store_row_cuda(const StoreRowParams& params, CudaStream stream) {
  store_row_kernel<<<1, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(params);
  expect_launched("store_row");
}

}  // namespace msa::kernels
