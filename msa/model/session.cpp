#include "msa/model/session.h"

#include <algorithm>
#include <limits>

#include "msa/base/error.h"

namespace msa::model {

int32_t most_probable(std::span<const float> logits) {
  // Lanes beside each other, so that none waits for the one before.
  constexpr size_t kLanes = 16;
  float largest[kLanes];
  std::fill_n(largest, kLanes, -std::numeric_limits<float>::infinity());
  int32_t has_nan[kLanes] = {};
  const auto look = [&](size_t lane, float logit) {
    has_nan[lane] |= static_cast<int32_t>(logit != logit);
    largest[lane] = logit > largest[lane] ? logit : largest[lane];
  };
  const size_t whole = logits.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) look(lane, logits[i + lane]);
  }
  for (size_t i = whole; i < logits.size(); ++i) look(0, logits[i]);
  if (std::any_of(has_nan, has_nan + kLanes, [](int32_t has) { return has != 0; })) {
    return expect_probable(-1);
  }
  const float most = *std::max_element(largest, largest + kLanes);
  return static_cast<int32_t>(std::find(logits.begin(), logits.end(), most) - logits.begin());
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
