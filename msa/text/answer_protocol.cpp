#include "msa/text/answer_protocol.h"

#include <algorithm>

#include "msa/base/error.h"

namespace msa::text {
namespace {

constexpr size_t kMaxDigits = 18;  // any such number fits in int64_t

}  // namespace

bool ends_response(const PromptLayout& layout, std::span<const int64_t> end_tokens, int32_t token) {
  return token == layout.end_token() || std::ranges::find(end_tokens, token) != end_tokens.end();
}

RetrievalRound::RetrievalRound(const PromptLayout& layout, std::span<const int64_t> end_tokens,
                               const RoundLimits& limits)
    : layout_(layout), end_tokens_(end_tokens), limits_(limits) {
  MSA_CHECK(limits.max_tokens >= 1, "max_tokens must be at least 1, got ", limits.max_tokens);
  MSA_CHECK(limits.max_ids >= 0, "max_ids must not be negative, got ", limits.max_ids);
}

RoundState RetrievalRound::add(int32_t token) {
  if (state_ != RoundState::kGoesOn) return state_;
  const Tokenizer& tokenizer = layout_.tokenizer();
  if (tokenizer.is_special(token) || ends_response(layout_, end_tokens_, token)) {
    return state_ = read_special(token);
  }
  const std::string& bytes = tokenizer.token_bytes(token);
  if (bytes.empty()) return state_ = RoundState::kInvalid;  // no token of this vocabulary
  for (const char byte : bytes) {
    state_ = read_byte(byte);
    if (state_ != RoundState::kGoesOn) return state_;
  }
  if (++num_tokens_ >= limits_.max_tokens) state_ = RoundState::kInvalid;
  return state_;
}

RoundState RetrievalRound::read_special(int32_t token) const {
  if (place_ != Place::kBetweenIds) return RoundState::kInvalid;
  if (token == layout_.ids_end_token()) return RoundState::kIdsFinished;
  if (!ends_response(layout_, end_tokens_, token)) return RoundState::kInvalid;
  return ids_.empty() ? RoundState::kRetrievalEnded : RoundState::kIdsFinished;
}

RoundState RetrievalRound::read_byte(char byte) {
  switch (place_) {
    case Place::kBetweenIds:
      if (byte == '[') {
        place_ = Place::kInId;
        id_ = 0;
        num_digits_ = 0;
        return RoundState::kGoesOn;
      }
      if (byte != kEndOfRetrieve.front()) return RoundState::kInvalid;
      place_ = Place::kInEndOfRetrieve;
      num_matched_ = 1;
      return RoundState::kGoesOn;
    case Place::kInId:
      if (byte == ']') return close_id();
      if (byte < '0' || byte > '9' || num_digits_ == kMaxDigits) return RoundState::kInvalid;
      id_ = id_ * 10 + (byte - '0');
      ++num_digits_;
      return RoundState::kGoesOn;
    case Place::kInEndOfRetrieve:
      if (byte != kEndOfRetrieve[num_matched_]) return RoundState::kInvalid;
      ++num_matched_;
      return num_matched_ == kEndOfRetrieve.size() ? RoundState::kRetrievalEnded
                                                   : RoundState::kGoesOn;
  }
  return RoundState::kInvalid;
}

RoundState RetrievalRound::close_id() {
  if (num_digits_ == 0) return RoundState::kInvalid;
  place_ = Place::kBetweenIds;
  if (std::ranges::find(ids_, id_) != ids_.end()) return RoundState::kGoesOn;
  if (static_cast<int64_t>(ids_.size()) == limits_.max_ids) return RoundState::kInvalid;
  ids_.push_back(id_);
  return RoundState::kGoesOn;
}

}  // namespace msa::text
