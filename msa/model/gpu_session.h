#pragma once
// A session on a GPU: routing, fetching and attention follow each other on its stream; the host
// waits once for every answer.

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "msa/model/gpu_model.h"
#include "msa/model/gpu_session_space.h"
#include "msa/model/session.h"

namespace msa::model {

class GpuSession final : public Session {
 public:
  GpuSession(GpuModel& model, const SessionOptions& options);
  ~GpuSession() override;

  std::span<const float> prefill(std::span<const int32_t> tokens,
                                 const std::vector<bool>& routes) override;
  std::span<const float> extend(
      std::span<const int32_t> tokens,
      AnswerPromptAttention attention = AnswerPromptAttention::kCausal) override;
  void write(std::span<const float> logits, const std::function<bool(int32_t)>& accepts,
             int64_t most_added = std::numeric_limits<int64_t>::max()) override;
  void truncate(int64_t num_tokens) override;
  int64_t num_tokens() const override { return num_tokens_; }
  const RoutingResult& routing() const override { return routing_; }

 private:
  /// Rows of a pass: own tokens [first, first + count).
  struct Rows {
    int64_t first = 0;
    int64_t count = 0;
    bool is_causal = true;
  };

  void upload(std::span<const int32_t> tokens);
  void reserve(int64_t num_tokens);
  void place(int64_t first_layer, int64_t end_layer, const Rows& rows);
  void run_layer(int64_t layer, const Rows& rows, int64_t num_routing);
  void route(int64_t layer, int64_t row_stride, const Rows& rows, int64_t num_routing);
  void keep_entry(const Rows& rows);
  std::span<const float> finish(const Rows& rows);
  GpuStepCaches step_caches() const;
  bool has_place_for_step() const;
  void queue_step(int32_t token);
  std::span<const float> wait_for_logits();
  void read_routing();

  GpuModel& model_;
  SessionOptions options_;
  std::unique_ptr<GpuSessionSpace> space_;
  int64_t first_memory_layer_ = 0;  // layers below are reused between rounds
  int64_t num_tokens_ = 0;
  RoutingResult routing_;
};

}  // namespace msa::model
