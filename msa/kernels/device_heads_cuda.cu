#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/device_heads.h"
#include "msa/kernels/row_numbers.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpThreads;
constexpr int kMeanThreads = 512;
constexpr int kMeanWarps = kMeanThreads / kWarpThreads;
constexpr int kHeadParts = kLargestHead / kWarpThreads;  // numbers of a head that a lane holds

/// Where a head of a joint row goes, and what is done to it on its way.
struct HeadPlace {
  BFloat16* out;
  const float* weight;  // null: the head is copied
};

__device__ HeadPlace place_of(const SpreadHeadsParams& p, int64_t token, int64_t head) {
  const int64_t row = token + (p.first_row == nullptr ? 0 : __ldcg(p.first_row));
  if (head < p.num_kv_heads) {
    return {p.key + (row * p.num_kv_heads + head) * p.head_dim, p.k_norm};
  }
  head -= p.num_kv_heads;
  if (head < p.num_kv_heads) {
    return {p.value + (row * p.num_kv_heads + head) * p.head_dim, nullptr};
  }
  head -= p.num_kv_heads;
  return {p.query + (token * p.num_heads + head) * p.head_dim, p.q_norm};
}

__device__ int64_t num_spread_heads(const SpreadHeadsParams& p) {
  return 2 * p.num_kv_heads + (p.query == nullptr ? 0 : p.num_heads);
}

/// A head of 16 * kLanes numbers on kLanes neighbouring lanes: each has eight numbers of the first
/// half and the eight that they are rotated with.
template <typename In, int kLanes>
__global__ void __launch_bounds__(kThreads)
    spread_heads_kernel(SpreadHeadsParams p, unsigned num_parts) {
  constexpr int kHalf = kEight * kLanes;
  constexpr int kHeads = kThreads / kLanes;
  await_launched_before();
  release_launched_after();
  const int64_t token = blockIdx.x / num_parts;
  const int64_t head = blockIdx.x % num_parts * kHeads + threadIdx.x / kLanes;
  const int first = static_cast<int>(threadIdx.x) % kLanes * kEight;
  const bool is_head = head < num_spread_heads(p);  // all lanes of a warp stay for its sums
  float low[kEight] = {};
  float high[kEight] = {};
  if (is_head) {
    const In* from = static_cast<const In*>(p.joint) + token * p.row_stride + p.first_column +
                     head * (2 * kHalf) + first;
    read_eight(from, low);
    read_eight(from + kHalf, high);
  }
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kEight; ++i) squares += low[i] * low[i] + high[i] * high[i];
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    squares += __shfl_xor_sync(kAllLanes, squares, step);
  }
  if (!is_head) return;
  const HeadPlace place = place_of(p, token, head);
  if (place.weight != nullptr) {
    const int64_t angles = int64_t{__ldcg(p.position + token)} * kHalf + first;
    float cosine[kEight];
    float sine[kEight];
    float low_weight[kEight];
    float high_weight[kEight];
    read_constants(p.cosine + angles, cosine);
    read_constants(p.sine + angles, sine);
    read_constants(place.weight + first, low_weight);
    read_constants(place.weight + kHalf + first, high_weight);
    const float factor = 1.0F / sqrtf(squares / (2 * kHalf) + p.eps);
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      const float a = low_weight[i] * (low[i] * factor);
      const float b = high_weight[i] * (high[i] * factor);
      low[i] = a * cosine[i] - b * sine[i];
      high[i] = b * cosine[i] + a * sine[i];
    }
  }
  write_eight(place.out + first, low);
  write_eight(place.out + kHalf + first, high);
}

/// The same for any even head size: a warp a head, number by number.
template <typename In>
__global__ void __launch_bounds__(kThreads)
    spread_any_heads_kernel(SpreadHeadsParams p, unsigned num_parts) {
  await_launched_before();
  release_launched_after();
  const int64_t token = blockIdx.x / num_parts;
  const int64_t head = blockIdx.x % num_parts * kWarps + threadIdx.x / kWarpThreads;
  const int64_t lane = threadIdx.x % kWarpThreads;
  if (head >= num_spread_heads(p)) return;
  const In* from =
      static_cast<const In*>(p.joint) + token * p.row_stride + p.first_column + head * p.head_dim;
  float squares = 0;
  for (int64_t i = lane; i < p.head_dim; i += kWarpThreads) {
    squares += read_one(from + i) * read_one(from + i);
  }
  squares = warp_sum(squares);
  const float factor = 1.0F / sqrtf(squares / static_cast<float>(p.head_dim) + p.eps);
  const HeadPlace place = place_of(p, token, head);
  const int64_t half = p.head_dim / 2;
  const int64_t angles = place.weight == nullptr ? 0 : int64_t{__ldcg(p.position + token)} * half;
  for (int64_t i = lane; i < half; i += kWarpThreads) {
    float low = read_one(from + i);
    float high = read_one(from + half + i);
    if (place.weight != nullptr) {
      const float a = place.weight[i] * (low * factor);
      const float b = place.weight[half + i] * (high * factor);
      low = a * p.cosine[angles + i] - b * p.sine[angles + i];
      high = b * p.cosine[angles + i] + a * p.sine[angles + i];
    }
    write_one(place.out + i, low);
    write_one(place.out + half + i, high);
  }
}

/// Adds the heads of one kv head of one row; lane l holds the numbers l, l + 32, ...
__device__ void add_heads(const FoldQueriesParams& p, int64_t r, int64_t kv_head, int lane,
                          float (&sum)[kHeadParts]) {
  const int64_t group = p.num_heads / p.num_kv_heads;
  const BFloat16* heads = p.joint + int64_t{__ldcg(p.row + r)} * p.row_stride + p.first_column +
                          kv_head * group * p.head_dim;
#pragma unroll 4
  for (int64_t h = 0; h < group; ++h) {
    float value[kHeadParts];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kHeadParts; ++i) {
      const int d = lane + i * kWarpThreads;
      value[i] = d < p.head_dim ? read_one(heads + h * p.head_dim + d) : 0.0F;
      squares += value[i] * value[i];
    }
    const float length = p.normalizes ? fmaxf(sqrtf(warp_sum(squares)), 1e-12F) : 1.0F;
#pragma unroll
    for (int i = 0; i < kHeadParts; ++i) sum[i] += p.factor * (value[i] / length);
  }
}

__global__ void __launch_bounds__(kThreads) fold_queries_kernel(FoldQueriesParams p) {
  await_launched_before();
  release_launched_after();
  const int64_t item = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpThreads;
  if (item >= p.num_rows * p.num_kv_heads) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  float sum[kHeadParts] = {};
  add_heads(p, item / p.num_kv_heads, item % p.num_kv_heads, lane, sum);
#pragma unroll
  for (int i = 0; i < kHeadParts; ++i) {
    const int d = lane + i * kWarpThreads;
    if (d < p.head_dim) p.out[item * p.head_dim + d] = sum[i];
  }
}

/// One block a kv head: its warps share the rows.
__global__ void __launch_bounds__(kMeanThreads) mean_queries_kernel(FoldQueriesParams p) {
  __shared__ float partial[kMeanWarps][kLargestHead];
  await_launched_before();
  release_launched_after();
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  float sum[kHeadParts] = {};
  for (int64_t r = warp; r < p.num_rows; r += kMeanWarps) add_heads(p, r, blockIdx.x, lane, sum);
#pragma unroll
  for (int i = 0; i < kHeadParts; ++i) partial[warp][lane + i * kWarpThreads] = sum[i];
  __syncthreads();
  for (int64_t d = threadIdx.x; d < p.head_dim; d += kMeanThreads) {
    float total = 0;
    for (int w = 0; w < kMeanWarps; ++w) total += partial[w][d];
    p.out[blockIdx.x * p.head_dim + d] = total / static_cast<float>(p.num_rows);
  }
}

template <typename In>
auto* spread_kernel_of(int64_t head_dim) {
  switch (head_dim) {
    case 16:
      return spread_heads_kernel<In, 1>;
    case 32:
      return spread_heads_kernel<In, 2>;
    case 64:
      return spread_heads_kernel<In, 4>;
    case 128:
      return spread_heads_kernel<In, 8>;
    case 256:
      return spread_heads_kernel<In, 16>;
    default:
      return spread_any_heads_kernel<In>;
  }
}

}  // namespace

void spread_heads_cuda(const SpreadHeadsParams& params, CudaStream stream) {
  if (params.num_tokens == 0) return;
  const int64_t dim = params.head_dim;
  MSA_CHECK(dim > 0 && dim <= kLargestHead && dim % kEight == 0,
            "spread_heads: heads have a multiple of 8 numbers up to ", kLargestHead, ", got ", dim);
  MSA_CHECK(params.row_stride % kEight == 0 && params.first_column % kEight == 0,
            "spread_heads: heads begin at multiples of 8 numbers, got column ", params.first_column,
            " of ", params.row_stride);
  const bool has_lanes = dim >= 16 && (dim & (dim - 1)) == 0;
  const int64_t heads_of_block = has_lanes ? kThreads / (dim / (2 * kEight)) : kWarps;
  const int64_t num_heads =
      2 * params.num_kv_heads + (params.query == nullptr ? 0 : params.num_heads);
  const int64_t num_parts = (num_heads + heads_of_block - 1) / heads_of_block;
  MSA_CHECK(params.num_tokens * num_parts <= 0x7fffffff, "spread_heads: ", params.num_tokens,
            " tokens are too many for one launch");
  auto* kernel = params.joint_type == NumberType::kBFloat16 ? spread_kernel_of<BFloat16>(dim)
                                                            : spread_kernel_of<float>(dim);
  launch_dependent(kernel, static_cast<unsigned>(params.num_tokens * num_parts), kThreads, 0,
                   static_cast<cudaStream_t>(stream), params, static_cast<unsigned>(num_parts));
  expect_launched("spread_heads");
}

void fold_queries_cuda(const FoldQueriesParams& params, CudaStream stream) {
  if (params.num_rows == 0) return;
  MSA_CHECK(params.head_dim > 0 && params.head_dim <= kLargestHead,
            "fold_queries: heads have 1 to ", kLargestHead, " numbers, got ", params.head_dim);
  MSA_CHECK(params.num_kv_heads > 0 && params.num_heads % params.num_kv_heads == 0,
            "fold_queries: ", params.num_heads, " heads do not share ", params.num_kv_heads,
            " kv heads");
  if (params.is_mean) {
    launch_dependent(mean_queries_kernel, static_cast<unsigned>(params.num_kv_heads), kMeanThreads,
                     0, static_cast<cudaStream_t>(stream), params);
  } else {
    const int64_t num_warps = params.num_rows * params.num_kv_heads;
    launch_dependent(fold_queries_kernel, static_cast<unsigned>((num_warps + kWarps - 1) / kWarps),
                     kThreads, 0, static_cast<cudaStream_t>(stream), params);
  }
  expect_launched("fold_queries");
}

}  // namespace msa::kernels
