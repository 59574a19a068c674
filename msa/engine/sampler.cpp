#include "msa/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/elementwise.h"
#include "msa/model/session.h"

namespace msa::engine {
namespace {

constexpr size_t kBlock = 1024;  // stays in the cache
constexpr double kMostFactor =
    1e30;                      // a colder temperature leaves the largest logits alone as well
constexpr size_t kLanes = 16;  // sums beside each other, so that none waits for the one before

/// In float32 within a block, in double beyond.
double sum(std::span<const float> values) {
  double total = 0;
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const auto block = values.subspan(begin, std::min(kBlock, values.size() - begin));
    const size_t whole = block.size() / kLanes * kLanes;
    float sums[kLanes] = {};
    for (size_t i = 0; i < whole; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += block[i + lane];
    }
    for (size_t i = whole; i < block.size(); ++i) sums[0] += block[i];
    total += std::accumulate(std::begin(sums), std::end(sums), 0.0);
  }
  return total;
}

/// Tokens from the heaviest on, the lower of equals first; sorted as far as they are looked at.
class HeaviestFirst {
 public:
  explicit HeaviestFirst(std::span<const float> weight) : weight_(weight), order_(weight.size()) {
    std::iota(order_.begin(), order_.end(), 0);
  }

  int32_t at(size_t i) {
    while (i >= num_sorted_) sort_more();
    return order_[i];
  }

 private:
  static constexpr size_t kFirst = 64;

  void sort_more() {
    const auto comes_first = [this](int32_t a, int32_t b) {
      return weight_[a] != weight_[b] ? weight_[a] > weight_[b] : a < b;
    };
    const auto first = order_.begin() + static_cast<ptrdiff_t>(num_sorted_);
    num_sorted_ = std::min(order_.size(), std::max(kFirst, 8 * num_sorted_));
    const auto last = order_.begin() + static_cast<ptrdiff_t>(num_sorted_);
    if (last != order_.end()) std::nth_element(first, last, order_.end(), comes_first);
    std::sort(first, last, comes_first);
  }

  std::span<const float> weight_;
  std::vector<int32_t> order_;
  size_t num_sorted_ = 0;
};

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

  std::vector<float> weight(logits.size());
  const auto factor = static_cast<float>(std::min(1 / options_.temperature, kMostFactor));
  kernels::exponentials(logits.data(), logits[static_cast<size_t>(best)], factor, weight.data(),
                        static_cast<int64_t>(logits.size()));
  const double total = sum(weight);
  HeaviestFirst order(weight);
  double kept = total;
  size_t count = weight.size();
  if (options_.top_p < 1) {
    kept = 0;
    count = 0;
    while (count < weight.size() && (count == 0 || kept < options_.top_p * total)) {
      kept += static_cast<double>(weight[order.at(count++)]);
    }
  }
  double left = next_uniform() * kept;
  int32_t token = best;
  for (size_t i = 0; i < count && left >= 0; ++i) {
    token = order.at(i);
    left -= static_cast<double>(weight[token]);
  }
  return left < 0 ? token : best;  // by rounding, all weights together may be less than `kept`
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
