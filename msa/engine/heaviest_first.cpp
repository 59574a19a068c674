#include "msa/engine/heaviest_first.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <numeric>

#include "msa/kernels/exponentials.h"

namespace msa::engine {
namespace {

// Floats of one sign have the order of their bits. A bucket holds the weights of 1/32 of a power of
// two, from 1 downwards, the last bucket all that are below. Parts divide a bucket in the same way.
constexpr size_t kBuckets = 1024;
constexpr size_t kLast = kBuckets - 1;
constexpr int kBucketBits = 18;
constexpr size_t kParts = 1024;
constexpr int kPartBits = 8;
constexpr int32_t kOne = std::bit_cast<int32_t>(1.0F);

constexpr size_t kBlock = 1024;   // stays in the cache
constexpr size_t kTogether = 16;  // tokens that are passed over together

// Sums beside each other, so that few wait for the one before: in the last bucket most.
constexpr int32_t kLanes = 4;
constexpr int32_t kLastLanes = 16;
constexpr int32_t kFirstOfLast = kLast * kLanes;

// A token as it is listed: what is heavier, or of equals lower, is less.
uint64_t listed(float weight, size_t token) {
  return static_cast<uint64_t>(~std::bit_cast<uint32_t>(weight)) << 32 | token;
}
int32_t token_of(uint64_t entry) { return static_cast<int32_t>(static_cast<uint32_t>(entry)); }
float weight_of(uint64_t entry) {
  return std::bit_cast<float>(static_cast<uint32_t>(~entry >> 32));
}

int32_t bits_of(float weight) { return std::bit_cast<int32_t>(weight); }

/// The largest weight of a bucket.
int32_t most_of(size_t bucket) { return kOne - static_cast<int32_t>(bucket << kBucketBits); }

}  // namespace

void HeaviestFirst::weigh(std::span<const float> logits, float highest, float factor) {
  weight_.resize(logits.size());
  sums_.assign(kFirstOfLast + kLastLanes, 0);
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, logits.size() - begin);
    float* weight = weight_.data() + begin;
    kernels::exponentials(logits.data() + begin, highest, factor, weight,
                          static_cast<int64_t>(count));
    int32_t place[kBlock];
    for (int32_t i = 0; i < static_cast<int32_t>(count); ++i) {
      const int32_t bucket = (kOne - bits_of(weight[i])) >> kBucketBits;
      place[i] = std::min(bucket * kLanes + i % kLanes, kFirstOfLast + i % kLastLanes);
    }
    for (size_t i = 0; i < count; ++i) sums_[place[i]] += static_cast<double>(weight[i]);
  }
  mass_.assign(kBuckets, 0);
  for (size_t i = 0; i < sums_.size(); ++i) mass_[std::min(i / kLanes, kLast)] += sums_[i];
  total_ = std::accumulate(mass_.begin(), mass_.end(), 0.0);
  listed_bucket_ = kBuckets;
}

HeaviestFirst::Place HeaviestFirst::find(double wanted) {
  double before = 0;
  for (size_t bucket = 0; bucket < kBuckets; ++bucket) {
    const double behind = before + mass_[bucket];
    if (behind >= wanted) {
      list(bucket);
      return find_listed(most_of(bucket), before, behind, wanted);
    }
    before = behind;
  }
  return {};
}

HeaviestFirst::Place HeaviestFirst::find_listed(int32_t most, double before, double behind,
                                                double wanted) {
  // Often few, or all equal.
  if (std::ranges::is_sorted(listed_)) return add_up(listed_, before, behind, wanted);
  const auto part_of = [&](uint64_t token) {
    return std::min(static_cast<size_t>(most - bits_of(weight_of(token))) >> kPartBits, kParts - 1);
  };
  sums_.assign(kParts, 0);
  size_t last = 0;
  for (const uint64_t token : listed_) {
    const size_t part = part_of(token);
    sums_[part] += static_cast<double>(weight_of(token));
    last = std::max(last, part);
  }
  size_t part = 0;
  double sum = before + sums_[part];
  while (part < last && sum < wanted) {
    before = sum;
    sum = before + sums_[++part];
  }
  sorted_.clear();
  std::ranges::copy_if(listed_, std::back_inserter(sorted_),
                       [&](uint64_t token) { return part_of(token) == part; });
  std::ranges::sort(sorted_);
  return add_up(sorted_, before, part < last ? std::min(sum, behind) : behind, wanted);
}

HeaviestFirst::Place HeaviestFirst::add_up(std::span<const uint64_t> tokens, double before,
                                           double behind, double wanted) {
  double sum = before;
  size_t i = 0;
  while (i + 1 < tokens.size()) {
    sum = std::min(sum + static_cast<double>(weight_of(tokens[i])), behind);
    if (sum >= wanted) break;
    ++i;
  }
  if (i + 1 == tokens.size()) sum = behind;
  return {token_of(tokens[i]), sum};
}

void HeaviestFirst::list(size_t bucket) {
  if (listed_bucket_ == bucket) return;
  listed_bucket_ = bucket;
  size_t count = 0;
  const auto most = std::bit_cast<float>(most_of(bucket));
  const float below = bucket < kLast ? std::bit_cast<float>(most_of(bucket + 1)) : 0.0F;
  const auto is_inside = [&](float weight) { return (weight <= most) & (weight > below); };
  for (size_t first = 0; first < weight_.size(); first += kTogether) {
    const size_t end = std::min(first + kTogether, weight_.size());
    int32_t num_inside = 0;
    for (size_t i = first; i < end; ++i) num_inside += is_inside(weight_[i]) ? 1 : 0;
    if (num_inside == 0) continue;
    // Without branches that would often be guessed wrong: what is not inside is written over.
    listed_.resize(count + kTogether);
    for (size_t i = first; i < end; ++i) {
      listed_[count] = listed(weight_[i], i);
      count += is_inside(weight_[i]) ? 1 : 0;
    }
  }
  listed_.resize(count);
}

}  // namespace msa::engine
