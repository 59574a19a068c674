#pragma once
// Plain loops compiled several times for wider instructions; the loader picks the widest that the
// CPU has.

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define MSA_VECTOR_CODE \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MSA_VECTOR_CODE
#endif

// For pieces of such loops: inlined, so that they are compiled with the caller's instructions.
#define MSA_INLINE inline __attribute__((always_inline))
