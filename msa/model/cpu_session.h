#pragma once
// A session on the CPU: float32 caches in tensors.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "msa/model/decode_step.h"
#include "msa/model/session.h"
#include "msa/model/transformer.h"

namespace msa::model {

class CpuSession final : public Session {
 public:
  CpuSession(const Transformer& transformer, const SessionOptions& options);

  std::span<const float> prefill(std::span<const int32_t> tokens,
                                 const std::vector<bool>& routes) override;
  std::span<const float> extend(
      std::span<const int32_t> tokens,
      AnswerPromptAttention attention = AnswerPromptAttention::kCausal) override;
  void truncate(int64_t num_tokens) override;
  int64_t num_tokens() const override { return num_tokens_; }
  const RoutingResult& routing() const override { return routing_; }

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
