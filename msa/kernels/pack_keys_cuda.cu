// A warp packs a key: it is rotated in shared memory, several steps are tried, and the best is
// written.

#include <cuda_bf16.h>

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/pack_keys.h"
#include "msa/kernels/rotate_row.cuh"

namespace msa::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpThreads;
constexpr int kSteps = 15;
constexpr float kLowestNibble = -8;
constexpr float kHighestNibble = 7;
constexpr float kShortest = 1e-30F;  // a key with smaller values is as good as zero

/// The step of try `i`, for values up to `largest`: all of them are reached, or fewer and fewer.
__device__ float step_of(int i, float largest) {
  return largest * (1.0F - 0.05F * static_cast<float>(i)) / kHighestNibble;
}

__device__ float nibble_of(float value, float per_step) {
  return fminf(fmaxf(rintf(value * per_step), kLowestNibble), kHighestNibble);
}

template <bool kIsInt8>
__device__ float value_at(const PackKeysParams& p, int64_t i) {
  if constexpr (kIsInt8) {
    return static_cast<float>(static_cast<const int8_t*>(p.key)[i]);
  } else {
    return __bfloat162float(static_cast<const __nv_bfloat16*>(p.key)[i]);
  }
}

/// How well nibbles stand for a rotated key.
struct Fit {
  float product;  // nibbles . key
  float squares;  // nibbles . nibbles

  __device__ bool is_nearer_than(const Fit& other) const {
    return product * product * other.squares > other.product * other.product * squares;
  }
};

__device__ Fit fit(const float* row, int dim, float per_step, int lane) {
  Fit mine{0, 0};
  for (int i = lane; i < dim; i += kWarpThreads) {
    const float nibble = nibble_of(row[i], per_step);
    mine.product += nibble * row[i];
    mine.squares += nibble * nibble;
  }
  return {warp_sum(mine.product), warp_sum(mine.squares)};
}

/// Writes the nibbles of chunk `chunk`, 16 bytes a lane.
__device__ void write_nibbles(const PackKeysParams& p, int64_t chunk, const float* row, int dim,
                              float per_step, int lane) {
  const int64_t segments = dim / kSegmentValues;
  const int64_t band = chunk / kBandChunks;
  const auto place = static_cast<int>(chunk % kBandChunks);
  std::byte* to = p.value + band * segments * kBandChunks * kSegmentBytes + place * kSegmentBytes;
  constexpr int kLanesEach = 4;  // of a segment
  for (int part = lane; part < segments * kLanesEach; part += kWarpThreads) {
    const int segment = part / kLanesEach;
    const int t = part % kLanesEach;
    const float* values = row + segment * kSegmentValues + 4 * t;
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      words[i] = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int nibble = static_cast<int>(nibble_of(values[32 * i + 16 * h + j], per_step));
          words[i] |= (static_cast<uint32_t>(nibble) & 15U) << (8 * j + 4 * h);
        }
      }
    }
    *reinterpret_cast<uint4*>(to + segment * kBandChunks * kSegmentBytes + t * 16) = {
        words[0], words[1], words[2], words[3]};
  }
}

template <bool kIsInt8>
__global__ void __launch_bounds__(kThreads)
    pack_kernel(const __grid_constant__ PackKeysParams p, int dim) {
  extern __shared__ float rows[];
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  float* row = rows + warp * dim;
  const int64_t filled = (p.num_chunks + kBandChunks - 1) / kBandChunks * kBandChunks;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kWarps;
  const auto count = static_cast<float>(dim);
  float longest = 0;
  for (int64_t chunk = static_cast<int64_t>(blockIdx.x) * kWarps + warp; chunk < filled;
       chunk += step) {
    const bool is_inside = chunk < p.num_chunks;
    float largest = 0;
    for (int i = lane; i < dim; i += kWarpThreads) {
      row[i] = is_inside && i < p.key_dim ? value_at<kIsInt8>(p, chunk * p.key_dim + i) : 0.0F;
      largest = fmaxf(largest, fabsf(row[i]));
    }
    // The key is brought to values up to 1, so that sums and squares stay in range.
    const float unit = warp_max(largest);
    const float unit_length = kIsInt8 && is_inside ? unit * p.key_scale[chunk] : unit;
    const bool is_zero = !(unit_length >= kShortest);
    for (int i = lane; i < dim; i += kWarpThreads) row[i] = is_zero ? 0.0F : row[i] / unit;
    rotate<WarpGroup>(row, dim);

    largest = 0;
    float squares = 0;
    for (int i = lane; i < dim; i += kWarpThreads) {
      largest = fmaxf(largest, fabsf(row[i]));
      squares += row[i] * row[i];
    }
    largest = warp_max(largest);
    squares = warp_sum(squares);
    float per_step = 0;
    Fit best{0, 1};
    for (int i = 0; i < kSteps && !is_zero; ++i) {
      const float tried = 1.0F / step_of(i, largest);
      const Fit found = fit(row, dim, tried, lane);
      // Where all values are reached none is off by more than half a step; no error may be longer.
      const float missed = found.squares - found.product * found.product / squares;
      if (!found.is_nearer_than(best) || (i > 0 && missed > count / 4)) continue;
      best = found;
      per_step = tried;
    }
    // The error row - scale * nibbles is perpendicular to the row.
    const float scale = is_zero ? 0.0F : squares / best.product;
    float missed = 0;
    for (int i = lane; i < dim; i += kWarpThreads) {
      const float error = row[i] - scale * nibble_of(row[i], per_step);
      missed += error * error;
    }
    missed = warp_sum(missed);
    write_nibbles(p, chunk, row, dim, per_step, lane);
    __syncwarp();
    if (!is_inside) continue;
    constexpr float kAbove = 1.0005F;  // what sums here may be off by
    if (!is_zero) longest = fmaxf(longest, kAbove * sqrtf(squares) / scale);
    if (lane != 0) continue;
    const uint32_t bits = __float_as_uint(scale * unit_length) & ~kErrorBits;
    const float error = is_zero ? 0.0F : kAbove * sqrtf(missed / count) / scale / kErrorShare;
    p.scale[chunk] = __uint_as_float(bits | static_cast<uint32_t>(ceilf(error)));
  }
  if (lane == 0) {
    atomicMax(reinterpret_cast<unsigned*>(p.longest), __float_as_uint(longest));
  }
}

}  // namespace

void pack_keys_cuda(const PackKeysParams& params, CudaStream stream) {
  MSA_CHECK(params.key_type == NumberType::kBFloat16 || params.key_type == NumberType::kInt8,
            "pack_keys: keys must be bfloat16 or int8");
  MSA_CHECK(params.key_dim > 0 && params.key_dim <= kMostPackedDim, "pack_keys: 1 to ",
            kMostPackedDim, " values a key, got ", params.key_dim);
  MSA_CHECK(params.num_chunks >= 0, "pack_keys: ", params.num_chunks, " chunks");
  if (params.num_chunks == 0) return;
  const auto dim = static_cast<int>(packed_dim(params.key_dim));
  const auto shared_bytes = static_cast<int>(kWarps * dim * sizeof(float));
  auto* kernel = params.key_type == NumberType::kInt8 ? pack_kernel<true> : pack_kernel<false>;
  // The same at every call: it belongs to the kernel, whoever else launches it now.
  constexpr auto kMostBytes = static_cast<int>(kWarps * kMostPackedDim * sizeof(float));
  expect_success(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMostBytes),
      "pack_keys");
  constexpr int kBlocksEach = 16;
  const int blocks = kBlocksEach * device_attribute(cudaDevAttrMultiProcessorCount);
  kernel<<<blocks, kThreads, shared_bytes, static_cast<cudaStream_t>(stream)>>>(params, dim);
  expect_launched("pack_keys");
}

}  // namespace msa::kernels
