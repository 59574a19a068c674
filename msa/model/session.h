#pragma once
// One question on its way through the model: its K,V caches, its routing, its next token.

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "msa/memory/chunk_source.h"
#include "msa/model/config.h"

namespace msa::model {

struct PromptHead;

struct SessionOptions {
  const PromptHead* head = nullptr;             // null: no prompt head
  const memory::ChunkSource* memory = nullptr;  // null or empty: no memory
  int64_t first_position = 0;  // of the first token; 3 + top_k behind a prompt head
};

/// What routing chose in one prefill.
struct RoutingResult {
  std::vector<std::vector<kernels::ScoredDocument>>
      selected;                    // [router layers][<= top_k], best first
  std::vector<float> mean_scores;  // [documents]: mean over router layers
  double milliseconds = 0;         // routing and fetching
};

/// The token of the largest logit, the lowest of equals. Throws Error(kInternal) if a logit is NaN.
int32_t most_probable(std::span<const float> logits);

/// The same from who has looked at the logits already: -1 stands for a NaN among them.
int32_t expect_probable(int32_t token);

/// Not for use by several threads at once. Model, head and memory must outlive it.
class Session {
 public:
  virtual ~Session() = default;

  /// Adds `tokens` behind what the session holds and routes anew: `routes[i]` says for every token
  /// held then (old and new) whether it is a routing query. Layers below the first router layer are
  /// reused for old tokens; the others run again for all. Returns the next token's logits [V],
  /// valid until the next call.
  virtual std::span<const float> prefill(std::span<const int32_t> tokens,
                                         const std::vector<bool>& routes) = 0;

  /// Adds tokens without routing, on the selection of the last prefill. Returns the last token's
  /// logits [V].
  virtual std::span<const float> extend(
      std::span<const int32_t> tokens,
      AnswerPromptAttention attention = AnswerPromptAttention::kCausal) = 0;

  /// Writes greedily: adds the most probable token behind what the session holds, then the one that
  /// is most probable behind that, and so on. `accepts` is asked about each; one that it refuses is
  /// not added and ends the writing. `logits` are those of the last call, which are void
  /// afterwards. A session may run ahead of `accepts` by a step, which is forgotten if it refuses;
  /// not behind `most_added` tokens, where it refuses for certain. Throws as most_probable, and
  /// what `accepts` throws.
  virtual void write(std::span<const float> logits, const std::function<bool(int32_t)>& accepts,
                     int64_t most_added = std::numeric_limits<int64_t>::max());

  /// Forgets all but the first `num_tokens` tokens; the selection stays.
  virtual void truncate(int64_t num_tokens) = 0;

  /// Tokens held, without the prompt head.
  virtual int64_t num_tokens() const = 0;

  /// Of the last prefill; empty without memory.
  virtual const RoutingResult& routing() const = 0;
};

}  // namespace msa::model
