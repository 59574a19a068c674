#pragma once
// One question on its way through the model: its K,V caches, its routing, its next token.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "msa/memory/chunk_source.h"
#include "msa/model/decode_step.h"
#include "msa/model/transformer.h"

namespace msa::model {

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

/// Not for use by several threads at once. Transformer, head and memory must outlive it.
class Session {
 public:
  Session(const Transformer& transformer, const SessionOptions& options);

  /// Adds `tokens` behind what the session holds and routes anew: `routes[i]` says for every token
  /// held then (old and new) whether it is a routing query. Layers below the first router layer are
  /// reused for old tokens; the others run again for all. Returns the next token's logits [V],
  /// valid until the next call.
  std::span<const float> prefill(std::span<const int32_t> tokens, const std::vector<bool>& routes);

  /// Adds tokens without routing, on the selection of the last prefill. Returns the last token's
  /// logits [V].
  std::span<const float> extend(std::span<const int32_t> tokens,
                                AnswerPromptAttention attention = AnswerPromptAttention::kCausal);

  /// Forgets all but the first `num_tokens` tokens; the selection stays.
  void truncate(int64_t num_tokens);

  /// Tokens held, without the prompt head.
  int64_t num_tokens() const { return num_tokens_; }

  /// Of the last prefill; empty without memory.
  const RoutingResult& routing() const { return routing_; }

  /// Logits of every row of a prompt without memory [T, V]: for checks against other
  /// implementations.
  at::Tensor all_logits(std::span<const int32_t> tokens);

 private:
  /// K and V that a layer's queries see: [prompt head ; chosen documents' chunks ; the session's
  /// own tokens].
  struct Cache {
    at::Tensor key;           // [capacity, G, D]
    at::Tensor value;         // [capacity, G, D]
    int64_t prefix_rows = 0;  // head and chunks
  };

  bool uses_memory() const;
  void reset_cache(int64_t layer, int64_t memory_rows, int64_t own_rows);
  void append(Cache& cache, int64_t own_row, const at::Tensor& key, const at::Tensor& value);
  void reserve(Cache& cache, int64_t rows);
  at::Tensor positions(int64_t first, int64_t count) const;
  at::Tensor run_layer(int64_t layer, const at::Tensor& x, int64_t first_row, bool routes_anew,
                       const std::vector<int64_t>& routing_rows, bool is_causal, int64_t rows_out);
  void route(int64_t layer, const at::Tensor& queries);
  std::span<const float> step(int32_t token);
  std::span<const float> set_logits(const at::Tensor& x);

  const Transformer& transformer_;
  SessionOptions options_;
  int64_t first_memory_layer_ = 0;  // layers below are reused between rounds
  int64_t num_tokens_ = 0;
  std::vector<Cache> caches_;  // [L]
  at::Tensor entry_;           // [capacity, E]: what enters the first memory layer
  RoutingResult routing_;
  DecodeStep step_;
  std::vector<float> logits_;  // [V]
};

}  // namespace msa::model
