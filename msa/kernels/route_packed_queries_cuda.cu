// One block a token: its query is rotated as packed keys are, rounded to int8, and says how far a
// scanned score may be from the true one. Further blocks fill scratch with zeros.
//
// Let q be a rotated query, d the error of its rounding, k a rotated key, e that of its rounding.
// The scanned score is (q - d) . (k - e) = q . k - q . e - d . k + d . e. Both scales make the
// errors perpendicular to what was rounded, so that over a rotation drawn by chance q points
// anywhere around k as seen from e, and k anywhere around q as seen from d. On a sphere of n
// dimensions the part in a given direction is above z / sqrt(n) with a probability of at most
//   P = exp(-z^2 (n - 1) / 2 n) n / (z (n - 1) sqrt(2 pi)),
// since the density at x falls as (1 - x^2)^((n - 3) / 2). So
//   true - scanned <= z (|q| |e| + |d| |k|) / sqrt(n) + |d| |e|
// but for 2 P. With z = 5.5, P is 2.0e-8 for n = 1024 and 2.3e-8 for n = 128: of 16 documents to
// choose at least one is out of reach with a probability below 32 * 2.3e-8 < 8e-7 in a layer.

#include "msa/kernels/block_folds.cuh"
#include "msa/kernels/clear_zeros.cuh"
#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/pack_keys.h"
#include "msa/kernels/rotate_row.cuh"
#include "msa/kernels/token_source.cuh"

namespace msa::kernels {
namespace {

constexpr int kThreads = 256;
constexpr float kDeviations = 5.5F;  // z
constexpr float kNibbleFactor = 16;
constexpr float kAbove = 1.002F;  // what sums here may be off by

__global__ void __launch_bounds__(kThreads)
    prepare_packed_kernel(const float* query, int64_t key_dim, float longest_key,
                          const __grid_constant__ TokenSpans spans, RouteBatchSpace space) {
  extern __shared__ float row[];
  __shared__ float shared[kThreads / kWarpThreads];
  await_launched_before();
  release_launched_after();
  const int place = static_cast<int>(blockIdx.x);
  if (place >= space.num_tokens) {
    const auto num_tokens = static_cast<unsigned>(space.num_tokens);
    clear_zeros(space.early_zeros, blockIdx.x - num_tokens, gridDim.x - num_tokens);
    return;
  }
  const auto [question, token] = TokenSource(spans, place);
  const auto dim = static_cast<int>(space.query_row_bytes);
  for (int i = static_cast<int>(threadIdx.x); i < dim; i += kThreads) {
    row[i] = i < key_dim ? query[token * key_dim + i] : 0.0F;
  }
  rotate<BlockGroup<kThreads>>(row, dim);

  float largest = 0;
  for (int i = static_cast<int>(threadIdx.x); i < dim; i += kThreads) {
    largest = fmaxf(largest, fabsf(row[i]));
  }
  largest = block_max<kThreads>(largest, shared);
  const float factor = largest > 1e-36F ? 127.0F / largest : 0.0F;
  auto* out = reinterpret_cast<int8_t*>(space.query + place * space.query_row_bytes);
  float product = 0;
  float squares = 0;
  for (int i = static_cast<int>(threadIdx.x); i < dim; i += kThreads) {
    const float steps = rintf(row[i] * factor);
    out[i] = static_cast<int8_t>(steps);
    product += steps * row[i];
    squares += row[i] * row[i];
  }
  product = block_sum<kThreads>(product, shared);
  squares = block_sum<kThreads>(squares, shared);
  const bool is_zero = !(product > 0);
  const float scale = is_zero ? 0.0F : squares / product;
  float missed = 0;
  for (int i = static_cast<int>(threadIdx.x); i < dim; i += kThreads) {
    const float error = row[i] - scale * rintf(row[i] * factor);
    missed += error * error;
  }
  missed = block_sum<kThreads>(missed, shared);
  if (threadIdx.x != 0) return;
  space.token_scale[place] = scale / kNibbleFactor;
  if (place % kTokenStep == 0) space.block_owner[place / kTokenStep] = question;

  const auto count = static_cast<float>(dim);
  const float length = sqrtf(squares);
  const float error = sqrtf(missed);
  // A query that rounds to nothing has an error along itself.
  const float spread = is_zero ? 1.0F : kDeviations / sqrtf(count);
  // Sums in float32, of the rotation and of scores, are off by less than these parts of the whole.
  const float rounding = (count + 128) * 0x1p-23F * length * longest_key;
  // The bits of the scale that say the error.
  const float changed = 0x1p-15F * length * longest_key;
  space.scale_window[place] = kAbove * (spread * error * longest_key + rounding + changed);
  space.error_window[place] = kAbove * (spread * length + error) * kErrorShare * sqrtf(count);
  // What is as good as zero beside these.
  space.window[place] = kAbove * sqrtf(count) * 0x1p-62F * (length + 1);
}

}  // namespace

void prepare_packed_queries(const RouteBatchParams& params, const TokenSpans& spans,
                            const RouteBatchSpace& space, CudaStream stream) {
  const auto shared_bytes = static_cast<size_t>(space.query_row_bytes) * sizeof(float);
  static_assert(kMostPackedDim * sizeof(float) <= 48 * 1024, "shared memory that needs no asking");
  const int multiprocessors = device_attribute(cudaDevAttrMultiProcessorCount);
  launch_dependent(prepare_packed_kernel, num_prepare_blocks(space, multiprocessors), kThreads,
                   shared_bytes, static_cast<cudaStream_t>(stream), params.query, params.key_dim,
                   params.packed.longest, spans, space);
}

}  // namespace msa::kernels
