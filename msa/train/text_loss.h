#pragma once
// How well a model writes running text on: cross entropy without a memory.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "msa/train/layer_math.h"
#include "msa/train/model_tensors.h"

namespace msa::train {

/// Tokens that stand alone from position 0; those of [first, end) are to be foretold, first >= 1.
struct ScoredText {
  std::vector<int32_t> tokens;
  int64_t first = 1;
  int64_t end = 0;
};

struct TextLoss {
  int64_t num_tokens = 0;  // that were foretold
  double nats = 0;         // the sum of their cross entropies
};

/// `type`: of activations, as in forward. Texts are packed into passes of at most max_pass_tokens,
/// or one text; what comes out does not depend on it, but for rounding. No text may be longer than
/// the positions of `math`.
TextLoss text_loss(const LayerMath& math, const ModelTensors& tensors,
                   std::span<const ScoredText> texts, at::ScalarType type, at::Device device,
                   int64_t max_pass_tokens = 32'768);

}  // namespace msa::train
