#pragma once
// The tokens of a vocabulary in the order of their weights, sorted only where they are looked at.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace msa::engine {

/// The heaviest come first, the lower of equals first. The same sums on every machine. Used by one
/// thread at a time; memory is kept for the next logits.
class HeaviestFirst {
 public:
  /// Weighs all tokens: e^(factor * (logit - highest)), where `highest` is the largest logit and
  /// finite, factor >= 0.
  void weigh(std::span<const float> logits, float highest, float factor);

  /// Of all weights.
  double total() const { return total_; }

  struct Place {
    int32_t token = 0;
    double sum = 0;  // of its weight and all before it
  };

  /// The first token whose sum reaches `wanted`, in (0, total()]. Sums are no more than total(),
  /// and a sum that was found is reached by the same token or, where that does not change it,
  /// before.
  Place find(double wanted);

 private:
  void list(size_t bucket);
  Place find_listed(int32_t most, double before, double behind, double wanted);
  // Of tokens in their order, which weigh `behind` - `before`. Sums over buckets, parts and tokens
  // are rounded differently: of finer ones none is more than the coarser, and the last is as much.
  static Place add_up(std::span<const uint64_t> tokens, double before, double behind,
                      double wanted);

  std::vector<float> weight_;
  std::vector<double> mass_;      // of each bucket
  std::vector<double> sums_;      // while masses are added up
  std::vector<uint64_t> listed_;  // the tokens of one bucket, rising; in the upper half the bits of
                                  // their weights, turned over, by which they are sorted
  std::vector<uint64_t> sorted_;  // those of a part of it, in their order
  size_t listed_bucket_ = 0;
  double total_ = 0;
};

}  // namespace msa::engine
