#pragma once
// The next token from its logits: greedy, or drawn at a temperature from the most probable ones.

#include <cstdint>
#include <span>

#include "msa/engine/heaviest_first.h"

namespace msa::engine {

struct SamplerOptions {
  double temperature = 0;  // 0: greedy
  double top_p = 1;        // (0, 1]: the smallest set of tokens that holds this probability
  uint64_t seed = 0;
};

/// Equal options and logits give equal tokens on every machine: the generator is our own.
class Sampler {
 public:
  /// Throws Error(kInvalidArgument) if temperature or top_p is outside its range.
  explicit Sampler(const SamplerOptions& options);

  /// Ties go to the lower token. Throws Error(kInternal) if a logit is NaN.
  int32_t sample(std::span<const float> logits);

 private:
  double next_uniform();  // [0, 1)

  SamplerOptions options_;
  uint64_t state_ = 0;
  HeaviestFirst order_;
};

/// log(sum of exp(logits)), within 1e-6. Throws Error(kInternal) if a logit is NaN.
double log_sum_exp(std::span<const float> logits);

}  // namespace msa::engine
