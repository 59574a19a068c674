#pragma once
// The answer as the model writes it behind the answer prompt, and how sure it is where it declines.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "msa/engine/answer.h"
#include "msa/engine/loaded_model.h"
#include "msa/model/session.h"

namespace msa::engine {

struct WrittenAnswer {
  std::string text;                           // without the protocol's frame
  int64_t num_tokens = 0;                     // written for it
  bool is_truncated = false;                  // max_answer_tokens was reached
  std::optional<double> decline_probability;  // where the model chose text::kUnknownAnswer
};

/// `logits`: of the token behind the answer prompt, which `session` has read. If the model writes
/// text::kUnknownAnswer, and the probability of its tokens there is below options.decline_from, or
/// that is 1, it writes again, with another token in the place of the first of them. `on_text`, if
/// there is one, gets the answer in pieces of whole characters as they come; while what is written
/// may still become "I do not know." it gets nothing.
WrittenAnswer write_answer(const LoadedModel& model, model::Session& session,
                           std::span<const float> logits, const AskOptions& options,
                           const std::function<void(std::string_view)>& on_text);

}  // namespace msa::engine
