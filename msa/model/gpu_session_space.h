#pragma once
// What a session holds on the GPU: its stream, caches and scratch. Kept by the model between
// sessions.

#include <cstdint>
#include <memory>
#include <vector>

#include "msa/kernels/gpu_array.h"
#include "msa/kernels/gpu_graph.h"
#include "msa/kernels/token_places.h"
#include "msa/memory/gpu_source.h"
#include "msa/model/gpu_pass.h"
#include "msa/model/gpu_step.h"
#include "msa/model/session.h"

namespace msa::model {

class GpuModel;

/// For one session at a time.
class GpuSessionSpace {
 public:
  static constexpr int64_t kFirstTokens = 1024;

  /// Room for `capacity` own tokens. Throws Error(kLimit) if the GPU has none.
  GpuSessionSpace(GpuModel& owner, const SessionOptions& session, int64_t capacity);
  GpuSessionSpace(const GpuSessionSpace&) = delete;
  GpuSessionSpace& operator=(const GpuSessionSpace&) = delete;

  /// For another session: nothing of the one before can be seen.
  void begin();

  /// Whether it was made for the same memory and head.
  bool serves(const SessionOptions& session) const;

  /// A space for `capacity` tokens with the first `held` of this one in their places.
  std::unique_ptr<GpuSessionSpace> grown(int64_t held, int64_t capacity) const;

  /// K or V rows of a layer, [capacity, G, D]: head, chosen chunks, own tokens.
  BFloat16* key(int64_t layer) const { return cache_.data() + 2 * first_row_[layer] * width_; }
  BFloat16* value(int64_t layer) const { return key(layer) + row_capacity(layer) * width_; }
  int64_t row_capacity(int64_t layer) const { return first_row_[layer + 1] - first_row_[layer]; }

  kernels::TokenPlaces places() const;

  /// [V], where the GPU writes them and the host reads them.
  float* logits() const { return reinterpret_cast<float*>(host_logits.data()); }

  /// Behind them: the token that the step before left to the one that begins.
  int32_t* next_token() const;

  GpuModel& model;
  SessionOptions options;
  const memory::GpuSource* source = nullptr;  // null: no memory
  int64_t source_number = 0;                  // it may be gone, another at its address
  int64_t num_tokens = 0;                     // capacity for own tokens
  int64_t head_rows = 0;
  int64_t top_k = 0;  // documents chosen in a layer
  kernels::GpuStream stream;
  GpuPass pass;
  kernels::GpuArray<float> entry;                       // [tokens, E], into the first memory layer
  kernels::GpuArray<int32_t> routing_rows;              // [tokens]
  kernels::GpuArray<float> folded;                      // [tokens, F]
  kernels::GpuArray<kernels::ScoredDocument> selected;  // [slots, top_k]
  kernels::GpuArray<float> mean_scores;                 // [N]
  kernels::GpuArray<std::byte> route_workspace;         // for that many tokens
  std::vector<std::unique_ptr<kernels::GpuTimer>> route_timers;  // [slots]
  kernels::PinnedBuffer host_logits;                             // [V] float32, [1] int32
  kernels::PinnedBuffer host_selected;                           // as selected
  kernels::PinnedBuffer host_scores;                             // as mean_scores
  kernels::PinnedBuffer host_prefix;  // [L] int32: rows before own tokens
  kernels::GpuEvent token_seen;       // next_token is there
  std::unique_ptr<GpuStep> step;

 private:
  kernels::GpuArray<BFloat16> cache_;  // layer by layer, K then V
  std::vector<int64_t> first_row_;     // [L + 1], sums of row capacities
  int64_t width_ = 0;                  // F
  kernels::GpuArray<int32_t> places_;  // TokenPlaces
};

}  // namespace msa::model
