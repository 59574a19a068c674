#pragma once
// Dropout of a step, as each of its layers runs with it.

#include <cstdint>

#include "msa/samples/random.h"
#include "msa/train/checkpointed_layer.h"

namespace msa::train {

struct StepDropout {
  double share = 0;   // 0: none
  uint64_t seed = 0;  // of the step: other layers, parts and passes draw other seeds from it

  /// `pass`: 0 for the sequences, n + 1 for the n-th pass over documents.
  LayerRun run(bool recomputes, int64_t layer, int64_t pass) const {
    samples::Random random(seed, {static_cast<uint64_t>(layer), static_cast<uint64_t>(pass)});
    const uint64_t attention_seed = random.next();
    return {.recomputes = recomputes,
            .dropout = share,
            .attention_seed = attention_seed,
            .mlp_seed = random.next()};
  }
};

}  // namespace msa::train
