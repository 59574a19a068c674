#include "msa/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "msa/base/error.h"
#include "msa/model/session.h"

namespace msa::engine {

Sampler::Sampler(const SamplerOptions& options) : options_(options), state_(options.seed) {
  MSA_CHECK(options.temperature >= 0 && options.temperature <= 100,
            "temperature must be in [0, 100], got ", options.temperature);
  MSA_CHECK(options.top_p > 0 && options.top_p <= 1, "top_p must be in (0, 1], got ",
            options.top_p);
}

/// splitmix64 (Steele, Lea, Flood 2014).
double Sampler::next_uniform() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1.0p-53;
}

int32_t Sampler::sample(std::span<const float> logits) {
  const int32_t best = model::most_probable(logits);
  if (options_.temperature == 0) return best;

  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  std::vector<double> weight(order.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const double above = static_cast<double>(logits[order[i]]) - static_cast<double>(logits[best]);
    weight[i] = std::exp(above / options_.temperature);
    total += weight[i];
  }
  double kept = 0;
  size_t count = 0;
  while (count < order.size() && (count == 0 || kept < options_.top_p * total)) {
    kept += weight[count++];
  }
  double left = next_uniform() * kept;
  for (size_t i = 0; i < count; ++i) {
    left -= weight[i];
    if (left < 0) return order[i];
  }
  return order[count - 1];
}

double log_sum_exp(std::span<const float> logits) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  return highest + std::log(sum);
}

}  // namespace msa::engine
