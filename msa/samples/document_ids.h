#pragma once
// Ids of the documents of a batch: random, so that nothing but the memory tells them.

#include <algorithm>
#include <cstdint>
#include <unordered_set>

#include "msa/samples/random.h"

namespace msa::samples {

/// Each id once. All numbers of digits up to the largest are alike likely until the short ids are
/// gone; when all are, ids grow longer.
class DocumentIds {
 public:
  /// `max_digits` in [1, 18].
  explicit DocumentIds(int64_t max_digits) : max_digits_(max_digits) {}

  int64_t draw(Random& random) {
    for (int64_t tries = 1;; ++tries) {
      // So many misses in a row: nearly all are taken.
      const int64_t more = tries / kTriesOfALength;
      const int64_t id = random_id(std::min<int64_t>(18, max_digits_ + more), random);
      if (taken_.insert(id).second) return id;
    }
  }

  /// Of 1 to `max_digits` digits, all lengths alike likely; 0 is an id.
  static int64_t random_id(int64_t max_digits, Random& random) {
    const int64_t digits = random.between(1, max_digits);
    int64_t first = 1;
    for (int64_t i = 1; i < digits; ++i) first *= 10;
    return random.between(digits == 1 ? 0 : first, 10 * first - 1);
  }

 private:
  static constexpr int64_t kTriesOfALength = 64;

  int64_t max_digits_;
  std::unordered_set<int64_t> taken_;
};

}  // namespace msa::samples
