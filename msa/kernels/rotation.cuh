#pragma once
// One fixed rotation of keys and queries: it changes no score, and spreads what is in few values
// over all of them. Signs by chance and a Walsh-Hadamard transform, divided by the root of their
// number, several times.

#include <cuda_runtime.h>

#include <cstdint>

namespace msa::kernels {

/// The largest power of two that is at most `dim`: as many values are transformed together, the
/// first or the last ones in turn.
__host__ __device__ inline int64_t rotation_run(int64_t dim) {
  int64_t run = 1;
  while (2 * run <= dim) run *= 2;
  return run;
}

/// So many that a row of one or two values, too, is spread as if by chance.
constexpr int kMostRotationRounds = 8;
__host__ __device__ inline int rotation_rounds(int64_t dim) {
  return rotation_run(dim) == dim ? 4 : kMostRotationRounds;
}

/// 1 or -1 for value i of what round `round` transforms; as if drawn once for all.
__host__ __device__ inline float rotation_sign(int round, int64_t i) {
  const auto number = static_cast<uint64_t>(i) * kMostRotationRounds + static_cast<uint64_t>(round);
  uint64_t z = (number + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return (z >> 63) != 0 ? -1.0F : 1.0F;
}

}  // namespace msa::kernels
