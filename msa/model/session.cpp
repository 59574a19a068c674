#include "msa/model/session.h"

#include <algorithm>
#include <limits>

#include "msa/base/error.h"

namespace msa::model {

int32_t most_probable(std::span<const float> logits) {
  // The first block that holds the largest: there alone it is looked for.
  constexpr size_t kBlock = 1024;
  float most = -std::numeric_limits<float>::infinity();
  size_t most_begin = 0;
  int32_t has_nan = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, logits.size());
    float largest = most;
#pragma omp simd reduction(max : largest) reduction(| : has_nan)
    for (size_t i = begin; i < end; ++i) {
      has_nan |= static_cast<int32_t>(logits[i] != logits[i]);
      largest = logits[i] > largest ? logits[i] : largest;
    }
    if (largest > most) {
      most = largest;
      most_begin = begin;
    }
  }
  if (has_nan != 0) return expect_probable(-1);
  const auto first = logits.begin() + static_cast<ptrdiff_t>(most_begin);
  return static_cast<int32_t>(std::find(first, logits.end(), most) - logits.begin());
}

int32_t expect_probable(int32_t token) {
  if (token < 0) throw Error(ErrorCode::kInternal, "the model's logits are not numbers");
  return token;
}

void Session::write(std::span<const float> logits, const std::function<bool(int32_t)>& accepts,
                    int64_t /*most_added*/) {
  for (int32_t token = most_probable(logits); accepts(token); token = most_probable(logits)) {
    logits = extend(std::span(&token, 1));
  }
}

}  // namespace msa::model
