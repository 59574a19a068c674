#pragma once
// Weights of tokens: exponentials that are the same on every CPU.

#include <cstdint>

namespace msa::kernels {

/// out[i] = e^(factor * (x[i] - highest)), i < count, as fast_exp; highest is the largest x, factor
/// >= 0. The same bits on every x86 CPU: what is drawn by these weights must not depend on it.
void exponentials(const float* x, float highest, float factor, float* out, int64_t count);

}  // namespace msa::kernels
