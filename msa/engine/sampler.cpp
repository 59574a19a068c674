#include "msa/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "msa/base/error.h"
#include "msa/kernels/exponentials.h"
#include "msa/model/session.h"

namespace msa::engine {
namespace {

constexpr size_t kBlock = 1024;  // stays in the cache
constexpr double kMostFactor =
    1e30;                      // a colder temperature leaves the largest logits alone as well
constexpr size_t kLanes = 16;  // sums beside each other, so that none waits for the one before

double sum(std::span<const float> block) {
  float sums[kLanes] = {};
  const size_t whole = block.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += block[i + lane];
  }
  for (size_t i = whole; i < block.size(); ++i) sums[0] += block[i];
  return std::accumulate(std::begin(sums), std::end(sums), 0.0);
}

}  // namespace

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
  if (options_.temperature == 0 || !std::isfinite(logits[static_cast<size_t>(best)])) return best;

  const auto factor = static_cast<float>(std::min(1 / options_.temperature, kMostFactor));
  order_.weigh(logits, logits[static_cast<size_t>(best)], factor);
  double kept = order_.total();
  if (options_.top_p < 1) kept = order_.find(options_.top_p * kept).sum;
  // The first token up to which there is more than the share that was drawn.
  const double share = next_uniform() * kept;
  return order_.find(std::nextafter(share, kept)).token;
}

double log_sum_exp(std::span<const float> logits) {
  const float highest = logits[static_cast<size_t>(model::most_probable(logits))];
  float weight[kBlock];
  double total = 0;
  for (size_t i = 0; i < logits.size(); i += kBlock) {
    const size_t count = std::min(kBlock, logits.size() - i);
    kernels::exponentials(logits.data() + i, highest, 1, weight, static_cast<int64_t>(count));
    total += sum({weight, count});
  }
  return static_cast<double>(highest) + std::log(total);
}

}  // namespace msa::engine
