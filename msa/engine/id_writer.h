#pragma once
// Writes ids of documents that exist: the best one by probability and routing score, exactly.

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "msa/model/session.h"
#include "msa/text/prompt_layout.h"

namespace msa::engine {

/// A document that may be named.
struct IdCandidate {
  int64_t id = 0;
  double score = 0;  // routing score
};

/// What was written.
struct WrittenIds {
  std::vector<int64_t> ids;  // in the order written
  std::vector<int32_t>
      tokens;  // all of them; the last one, if any, has not been fed to the session
  bool ends_retrieval = false;  // the model wrote <End-of-Retrieve> in place of ids
};

struct IdWriterOptions {
  double routing_weight = 0;  // 0: the model's probability alone
  int64_t max_ids = 2;
  bool may_end_retrieval = false;  // offer <End-of-Retrieve> as well as "["
};

/// Writes "[id]" once or more, then <|object_ref_end|>. Every id is the candidate with the largest
/// log P("id]" | what stands before) + routing_weight * score; found by best-first search over the
/// trie of the ids' digits, whose bound is the best score below a node, so that few of them are
/// looked at. Whether another id follows is the model's choice: between "][" and "]" where the
/// vocabulary has a token for both brackets, and between "[" and <|object_ref_end|> behind "]".
/// `logits` are those of the next token.
WrittenIds write_ids(model::Session& session, const text::PromptLayout& layout,
                     std::span<const float> logits, std::vector<IdCandidate> candidates,
                     const IdWriterOptions& options);

}  // namespace msa::engine
