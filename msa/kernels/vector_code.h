#pragma once
// Loops compiled several times for wider instructions, and the choice among them.

#include "msa/kernels/cpu_features.h"

// For pieces of such loops: inlined, so that they are compiled with the caller's instructions.
#define MSA_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__)
#define MSA_AVX2_CODE __attribute__((target("avx2,fma,f16c,bmi,bmi2")))
#define MSA_AVX512_CODE \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi,bmi2")))
#else
#define MSA_AVX2_CODE
#define MSA_AVX512_CODE
#endif

/// Defines the function `name` as name_lanes<16>, <8> or <4>, whichever the CPU does best. Those
/// must be always inlined, so that each is compiled with the instructions of its level. Plain loops
/// need not look at the number of lanes: the compiler fills the vectors of the level.
#define MSA_VECTOR_FUNCTION(name, parameters, arguments)                        \
  namespace {                                                                   \
  MSA_AVX512_CODE void name##_avx512 parameters { name##_lanes<16> arguments; } \
  MSA_AVX2_CODE void name##_avx2 parameters { name##_lanes<8> arguments; }      \
  }                                                                             \
  void name parameters {                                                        \
    switch (vector_level()) {                                                   \
      case VectorLevel::kAvx512:                                                \
        return name##_avx512 arguments;                                         \
      case VectorLevel::kAvx2:                                                  \
        return name##_avx2 arguments;                                           \
      case VectorLevel::kBaseline:                                              \
        return name##_lanes<4> arguments;                                       \
    }                                                                           \
  }
