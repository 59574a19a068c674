#pragma once
// What the model writes in a retrieval round, read one token id at a time.

#include <cstdint>
#include <span>
#include <vector>

#include "msa/text/prompt_layout.h"

namespace msa::text {

enum class RoundState {
  kGoesOn,          // more tokens belong to this round
  kIdsFinished,     // <|object_ref_end|> was written, or the response ended behind an id
  kRetrievalEnded,  // <End-of-Retrieve> was written, or the response ended before any id
  kInvalid,         // what is written follows no rule of the round
};

struct RoundLimits {
  int64_t max_tokens = 64;  // >= 1
  int64_t max_ids = 32;     // >= 0, different ones
};

/// True if the model's response ends with this token: <|im_end|>, or one of its config's end
/// tokens.
bool ends_response(const PromptLayout& layout, std::span<const int64_t> end_tokens, int32_t token);

/// A state machine for one round:
///
///     round = { id } ( <|object_ref_end|> | "<End-of-Retrieve>" | token that ends the response )
///     id    = "[" 1 to 18 digits "]"
///
/// What stands in quotes is text, however it is cut into tokens; <End-of-Retrieve> may share its
/// last token with what follows. A special token counts by its id alone: text that spells one is
/// invalid, and so is a special token within an id. Takes constant time and memory of max_ids
/// numbers, whatever is fed, and throws nothing but Error(kInvalidArgument) for limits. `layout`
/// and `end_tokens` must outlive it. Not for use by several threads at once.
class RetrievalRound {
 public:
  RetrievalRound(const PromptLayout& layout, std::span<const int64_t> end_tokens,
                 const RoundLimits& limits = {});

  /// Reads the next token, any number, and returns the state behind it. A round that is over stays
  /// as it is. No end within max_tokens, or another id after max_ids, is invalid.
  RoundState add(int32_t token);

  RoundState state() const { return state_; }

  /// Ids whose closing bracket was read, in the order written, without repeats; those before an
  /// invalid token too. Nothing says that they exist.
  const std::vector<int64_t>& ids() const { return ids_; }

 private:
  RoundState read_special(int32_t token) const;
  RoundState read_byte(char byte);
  RoundState close_id();

  enum class Place { kBetweenIds, kInId, kInEndOfRetrieve };

  const PromptLayout& layout_;
  std::span<const int64_t> end_tokens_;
  RoundLimits limits_;
  RoundState state_ = RoundState::kGoesOn;
  Place place_ = Place::kBetweenIds;
  int64_t num_tokens_ = 0;
  int64_t id_ = 0;          // of the digits read
  size_t num_digits_ = 0;   // of the id that is being read
  size_t num_matched_ = 0;  // bytes of <End-of-Retrieve>
  std::vector<int64_t> ids_;
};

}  // namespace msa::text
