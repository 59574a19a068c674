#pragma once
// What the tests of this folder share: seeded values, and a turn for every set of instructions.

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cpu_features.h"

namespace msa::kernels {

/// Calls body(name) for every level that this CPU has, with the kernels limited to it.
template <typename Body>
void on_every_level(const Body& body) {
  const VectorLevel widest = vector_level();
  for (const auto& [level, name] : {std::pair{VectorLevel::kBaseline, "baseline"},
                                    {VectorLevel::kAvx2, "avx2"},
                                    {VectorLevel::kAvx512, "avx512"}}) {
    if (level > widest) return;
    limit_vector_level(level);
    body(name);
    limit_vector_level(VectorLevel::kAvx512);
  }
}

/// Normally distributed values times `scale`.
inline std::vector<float> random_floats(size_t count, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random) * scale;
  return values;
}

inline std::vector<BFloat16> rounded(const std::vector<float>& values) {
  std::vector<BFloat16> result;
  for (const float value : values) result.push_back(to_bfloat16(value));
  return result;
}

inline std::vector<float> widened(const std::vector<BFloat16>& values) {
  std::vector<float> result;
  for (const BFloat16 value : values) result.push_back(to_float(value));
  return result;
}

}  // namespace msa::kernels
