// As quantize_content, bit for bit: the same operations, each rounded as IEEE 754 says, and sums in
// the same order.

#include "msa/kernels/bfloat16_pairs.cuh"
#include "msa/kernels/device_code.cuh"
#include "msa/kernels/quantize_weights.h"
#include "msa/kernels/row_numbers.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpThreads;
constexpr int kSums = 8;  // of squared errors, side by side

__device__ uint32_t size_bits(float value) { return __float_as_uint(value) & 0x7fffffffU; }

__device__ float widened(uint16_t bits) { return __uint_as_float(uint32_t{bits} << 16); }

/// A warp a row.
__global__ void __launch_bounds__(kThreads)
    quantize_int8_kernel(const __grid_constant__ QuantizeWeightsParams p, ContentLayout layout) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpThreads;
  if (row >= p.num_rows) return;
  const int64_t lane = threadIdx.x % kWarpThreads;
  const auto* from = reinterpret_cast<const uint4*>(p.weight + row * p.num_columns);
  std::byte* to = p.rows + row * layout.row_bytes;
  uint32_t largest = 0;
  for (int64_t i = lane; i < p.num_columns / kEight; i += kWarpThreads) {
    float numbers[kEight];
    widen_eight(from[i], numbers);
#pragma unroll
    for (int n = 0; n < kEight; ++n) largest = max(largest, size_bits(numbers[n]));
  }
  largest = __reduce_max_sync(kAllLanes, largest);
  const float wanted = __fdiv_rn(__uint_as_float(largest), 127.0F);
  const auto scale = static_cast<uint16_t>((__float_as_uint(wanted) + 0xffffU) >> 16);
  const float step = widened(scale);
  for (int64_t i = lane; i < p.num_columns / kEight; i += kWarpThreads) {
    float numbers[kEight];
    widen_eight(from[i], numbers);
    uint32_t words[2] = {};
#pragma unroll
    for (int n = 0; n < kEight; ++n) {
      const int value = step == 0 ? 0 : static_cast<int>(rintf(__fdiv_rn(numbers[n], step)));
      words[n / 4] |= (static_cast<uint32_t>(value) & 0xffU) << (n % 4 * 8);
    }
    reinterpret_cast<uint2*>(to)[i] = {words[0], words[1]};
  }
  if (lane == 0) *reinterpret_cast<uint16_t*>(to + layout.scale_offset) = scale;
}

__device__ float int4_of(float x, float step) {
  return fminf(fmaxf(rintf(__fdiv_rn(x, step)), -8.0F), 7.0F);
}

__device__ double squared_error(const float (&x)[kInt4Group], float step) {
  double sum[kSums] = {};
#pragma unroll
  for (int i = 0; i < kInt4Group; ++i) {
    const double error = __fsub_rn(x[i], __fmul_rn(int4_of(x[i], step), step));
    sum[i % kSums] = __dadd_rn(sum[i % kSums], __dmul_rn(error, error));
  }
#pragma unroll
  for (int half = kSums / 2; half > 0; half /= 2) {
#pragma unroll
    for (int j = 0; j < half; ++j) sum[j] = __dadd_rn(sum[j], sum[j + half]);
  }
  return sum[0];
}

/// The scale with which the least is lost, as bfloat16.
__device__ uint16_t best_scale(const float (&x)[kInt4Group]) {
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kInt4Group; ++i) {
    if (size_bits(x[i]) > size_bits(largest)) largest = x[i];
  }
  uint16_t scale = 0;
  double least = 0;
#pragma unroll 1
  for (int i = 0; i < 4; ++i) {
    const float divisor = i == 0 ? -8.0F : i == 1 ? -8.5F : i == 2 ? -7.5F : -9.0F;
    const auto next =
        static_cast<uint16_t>(narrow_pair(__fdiv_rn(largest, divisor), 0.0F) & 0xffffU);
    if (widened(next) == 0) continue;
    const double error = squared_error(x, widened(next));
    if (widened(scale) != 0 && !(error < least)) continue;
    scale = next;
    least = error;
  }
  return scale;
}

/// A thread a group; the last one of a row may be half.
__global__ void __launch_bounds__(kThreads)
    quantize_int4_kernel(const __grid_constant__ QuantizeWeightsParams p, ContentLayout layout) {
  const int64_t groups = layout.num_groups();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= p.num_rows * groups) return;
  const int64_t row = index / groups;
  const int64_t group = index % groups;
  const bool is_half = group * kInt4Group + kInt4Group > p.num_columns;
  const auto* from =
      reinterpret_cast<const uint4*>(p.weight + row * p.num_columns + group * kInt4Group);
  float x[kInt4Group] = {};
#pragma unroll
  for (int i = 0; i < kInt4Group / kEight; ++i) {
    if (is_half && i >= kInt4Group / kEight / 2) break;
    float numbers[kEight];
    widen_eight(from[i], numbers);
#pragma unroll
    for (int n = 0; n < kEight; ++n) x[i * kEight + n] = numbers[n];
  }
  const uint16_t scale = best_scale(x);
  const float step = widened(scale);
  uint32_t words[kInt4Group / kEight] = {};
#pragma unroll
  for (int i = 0; i < kInt4Group; ++i) {
    const int value = step == 0 ? 0 : static_cast<int>(int4_of(x[i], step));
    words[i / kEight] |= (static_cast<uint32_t>(value) & 15U) << (i % kEight * 4);
  }
  std::byte* to = p.rows + row * layout.row_bytes;
  auto* out = reinterpret_cast<uint2*>(to + group * kInt4Group / 2);
  out[0] = {words[0], words[1]};
  if (!is_half) out[1] = {words[2], words[3]};
  reinterpret_cast<uint16_t*>(to + layout.scale_offset)[group] = scale;
}

}  // namespace

void quantize_weights_cuda(const QuantizeWeightsParams& params, CudaStream stream) {
  constexpr int64_t kMost = 0x7fffffff;
  MSA_CHECK(params.type != WeightType::kBFloat16, "quantize_weights: bfloat16 is not quantised");
  MSA_CHECK(params.num_rows > 0 && params.num_rows <= kMost, "quantize_weights: ", params.num_rows,
            " rows are not in [1, 2^31)");
  MSA_CHECK(params.num_columns > 0 && params.num_columns <= kMost &&
                params.num_columns % weight_column_step(params.type) == 0,
            "quantize_weights: rows have a multiple of 16 columns below 2^31, got ",
            params.num_columns);
  const auto on = static_cast<cudaStream_t>(stream);
  const ContentLayout layout = weight_layout(params.type, params.num_columns);
  const auto num_bytes = static_cast<size_t>(params.num_rows * layout.row_bytes);
  expect_success(cudaMemsetAsync(params.rows, 0, num_bytes, on), "quantize_weights");
  const bool is_int8 = params.type == WeightType::kInt8;
  const int64_t tasks = is_int8 ? params.num_rows : params.num_rows * layout.num_groups();
  const int64_t in_block = is_int8 ? kWarps : kThreads;
  const int64_t num_blocks = (tasks + in_block - 1) / in_block;
  MSA_CHECK(num_blocks <= kMost, "quantize_weights: ", params.num_rows, " rows of ",
            params.num_columns, " columns are too many for one launch");
  auto* kernel = is_int8 ? quantize_int8_kernel : quantize_int4_kernel;
  kernel<<<static_cast<unsigned>(num_blocks), kThreads, 0, on>>>(params, layout);
  expect_launched("quantize_weights");
}

}  // namespace msa::kernels
