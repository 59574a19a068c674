#pragma once
// One token through all layers on a GPU, as a graph that is recorded once: of one kernel where the
// GPU and the shape allow it, else of many.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/kernels/fused_step.h"
#include "msa/kernels/gpu_array.h"
#include "msa/kernels/gpu_graph.h"
#include "msa/kernels/token_places.h"
#include "msa/model/config.h"
#include "msa/model/gpu_weights.h"

namespace msa::model {

/// Where a step finds and leaves what it needs. The same at every call.
struct GpuStepCaches {
  std::vector<BFloat16*> key;    // [L][rows, G, D]
  std::vector<BFloat16*> value;  // [L][rows, G, D]
  kernels::TokenPlaces places;
  int64_t entry_layer = 0;  // its input is kept
  float* entry = nullptr;   // [tokens, E]
  float* logits = nullptr;  // [V], written; may be memory of the host that the GPU sees
};

/// Which token a step is of: one that the host knows or, where `seen` is given, the one that the
/// step before has left.
struct GpuStepToken {
  int32_t token = 0;
  int32_t* seen = nullptr;               // memory of the host that the GPU sees: written
  kernels::GpuEvent* is_seen = nullptr;  // recorded behind that
};

/// For one stream at a time; gpu, config and weights must outlive it.
class GpuStep {
 public:
  GpuStep(const kernels::Gpu& gpu, const ModelConfig& config, const GpuWeights& weights);

  /// Queues a token behind `num_tokens` own tokens, of which the first has `first_position`.
  /// `caches` are those of the first call.
  void run(const GpuStepCaches& caches, const GpuStepToken& token, int64_t num_tokens,
           int64_t first_position, kernels::CudaStream stream);

  /// On the GPU, written by every step: the token of the largest logit, the lowest of equals; -1 if
  /// a logit is NaN.
  const int32_t* next_token() const { return next_.data(); }

 private:
  void queue(const GpuStepCaches& caches, kernels::CudaStream stream);
  void queue_fused(const GpuStepCaches& caches, kernels::CudaStream stream);
  void upload_layers(const GpuStepCaches& caches, kernels::CudaStream stream);

  const kernels::Gpu& gpu_;
  const ModelConfig& config_;
  const GpuWeights& weights_;
  kernels::FusedStepShape shape_;
  bool is_fused_;
  kernels::GpuArray<int32_t> state_;                   // token, position, own row
  kernels::GpuArray<int32_t> next_;                    // [1]
  kernels::GpuArray<kernels::FusedStepLayer> layers_;  // [L], of a fused step, and its workspace
  kernels::GpuArray<std::byte> workspace_;
  kernels::GpuArray<float> x_;            // [E], from here on of a step that is not fused
  kernels::GpuArray<float> joint_;        // [(2 G + H) D]
  kernels::GpuArray<float> attended_;     // [H, D]
  kernels::GpuArray<float> gated_;        // [F]
  kernels::GpuArray<std::byte> largest_;  // kTokenWorkspaceBytes
  std::unique_ptr<kernels::GpuGraph> graph_;
};

}  // namespace msa::model
