#pragma once
// Which instructions the loops of this folder use.

#include <cstdint>

namespace msa::kernels {

enum class VectorLevel : uint8_t {
  kBaseline,  // what every CPU of the architecture has: 4 floats at a time
  kAvx2,      // AVX2 and FMA: 8
  kAvx512,    // AVX-512 F, BW, DQ, VL: 16
};

/// The widest level that this CPU has, or the limit if that is lower. Safe from any thread.
VectorLevel vector_level();

/// No level above `highest` from now on, so that tests reach every variant on one machine. Not for
/// use while kernels run.
void limit_vector_level(VectorLevel highest);

}  // namespace msa::kernels
