#include "msa/model/session.h"

#include <algorithm>
#include <cmath>

#include "msa/base/error.h"

namespace msa::model {

int32_t most_probable(std::span<const float> logits) {
  if (std::any_of(logits.begin(), logits.end(), [](float l) { return std::isnan(l); })) {
    throw Error(ErrorCode::kInternal, "the model's logits are not numbers");
  }
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

void Session::write(std::span<const float> logits, const std::function<bool(int32_t)>& accepts) {
  for (int32_t token = most_probable(logits); accepts(token); token = most_probable(logits)) {
    logits = extend(std::span(&token, 1));
  }
}

}  // namespace msa::model
