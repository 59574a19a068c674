#include "msa/kernels/cpu_features.h"

#include <algorithm>
#include <atomic>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace msa::kernels {
namespace {

#if defined(__x86_64__)
/// What __builtin_cpu_supports("f16c") says; clang before 18 does not know that name.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

VectorLevel level_of_cpu() {
#if defined(__x86_64__)
  // All that MSA_AVX2_CODE is compiled with: a virtual machine may hide any of them.
  if (__builtin_cpu_supports("avx2") == 0 || __builtin_cpu_supports("fma") == 0 || !has_f16c() ||
      __builtin_cpu_supports("bmi") == 0 || __builtin_cpu_supports("bmi2") == 0) {
    return VectorLevel::kBaseline;
  }
  const bool is_wide =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  return is_wide ? VectorLevel::kAvx512 : VectorLevel::kAvx2;
#else
  return VectorLevel::kBaseline;
#endif
}

std::atomic<VectorLevel> limit{VectorLevel::kAvx512};

}  // namespace

VectorLevel vector_level() {
  static const VectorLevel of_cpu = level_of_cpu();
  return std::min(of_cpu, limit.load(std::memory_order_relaxed));
}

void limit_vector_level(VectorLevel highest) { limit = highest; }

}  // namespace msa::kernels
