#pragma once
// Dropout whose choice is a function of a seed.

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "msa/autograd/purpose.h"

namespace msa::autograd {

/// Each element of x [T, E] is 0 with probability `share`, in [0, 1), or itself divided by
/// 1 - share; x itself where share is 0. Which are 0 follows from seed, shape and the kind of
/// device alone (a CPU reads the lower 32 bits of the seed), so that nothing is kept for the
/// gradient. Source: Srivastava and others, JMLR 2014.
at::Tensor dropout(const at::Tensor& x, double share, uint64_t seed,
                   Purpose purpose = Purpose::kValues);

}  // namespace msa::autograd
