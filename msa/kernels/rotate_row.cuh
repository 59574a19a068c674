#pragma once
// The rotation of a row in shared memory.

#include <cuda_runtime.h>

#include "msa/kernels/rotation.cuh"

namespace msa::kernels {

/// The threads that rotate a row together: one warp, or a block of kThreads.
struct WarpGroup {
  static constexpr int kThreads = 32;
  __device__ static int index() { return static_cast<int>(threadIdx.x) % kThreads; }
  __device__ static void sync() { __syncwarp(); }
};
template <int kBlockThreads>
struct BlockGroup {
  static constexpr int kThreads = kBlockThreads;
  __device__ static int index() { return static_cast<int>(threadIdx.x); }
  __device__ static void sync() { __syncthreads(); }
};

/// kStages stages of the transform of `run` values, from neighbours `stride` apart on, a power of
/// two.
template <typename Group, int kStages>
__device__ void transform_stages(float* part, int run, int stride) {
  constexpr int kTogether = 1 << kStages;
  for (int i = Group::index(); i < run / kTogether; i += Group::kThreads) {
    const int low = i & (stride - 1);
    float* first = part + (i - low) * kTogether + low;
    float value[kTogether];
#pragma unroll
    for (int m = 0; m < kTogether; ++m) value[m] = first[m * stride];
#pragma unroll
    for (int half = 1; half < kTogether; half *= 2) {
#pragma unroll
      for (int m = 0; m < kTogether; ++m) {
        if ((m & half) != 0) continue;
        const float left = value[m];
        const float right = value[m + half];
        value[m] = left + right;
        value[m + half] = left - right;
      }
    }
#pragma unroll
    for (int m = 0; m < kTogether; ++m) first[m * stride] = value[m];
  }
  Group::sync();
}

/// Rotates `dim` values in shared memory, which all threads of the group have written.
template <typename Group>
__device__ void rotate(float* row, int dim) {
  const auto run = static_cast<int>(rotation_run(dim));
  const float factor = 1.0F / sqrtf(static_cast<float>(run));
  Group::sync();
  for (int round = 0; round < rotation_rounds(dim); ++round) {
    float* part = row + (round % 2 == 0 ? 0 : dim - run);
    for (int i = Group::index(); i < run; i += Group::kThreads) {
      part[i] *= rotation_sign(round, i) * factor;
    }
    Group::sync();
    int stride = 1;
    for (; stride * 8 <= run; stride *= 8) transform_stages<Group, 3>(part, run, stride);
    if (stride * 4 == run) transform_stages<Group, 2>(part, run, stride);
    if (stride * 2 == run) transform_stages<Group, 1>(part, run, stride);
  }
}

}  // namespace msa::kernels
