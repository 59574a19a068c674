#pragma once
// Weights without a meaning, for measuring a shape.

#include <cstdint>

#include "msa/model/config.h"
#include "msa/model/weights.h"

namespace msa::model {

/// bfloat16 matrices of uniform numbers that keep activations near 1, norms of 1; the same for the
/// same seed. A router layer has routers of its own if the config says so.
Weights random_weights(const ModelConfig& config, uint64_t seed);

}  // namespace msa::model
