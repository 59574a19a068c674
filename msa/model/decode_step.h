#pragma once
// One token through all layers: one parallel region, matrices times vectors, no tensor is made.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "msa/base/barrier.h"
#include "msa/model/config.h"
#include "msa/model/weights.h"

namespace msa::model {

/// A layer's keys and values, with room for the token's own row.
struct StepCache {
  float* key = nullptr;    // [rows, G, D]; row `row` is written
  float* value = nullptr;  // [rows, G, D]
  int64_t row = 0;         // rows before it are visible as well
};

/// Scratch for steps of one model. Not for use by several threads at once.
class DecodeStep {
 public:
  DecodeStep(const ModelConfig& config, const Weights& weights);

  /// Runs `token` at `position`; `caches` [layers]. `entry`, if not null, receives what enters
  /// layer `entry_layer` [E]. Returns the logits [V], valid until the next call. Differs from a
  /// prefill of the same token by rounding alone.
  std::span<const float> run(int32_t token, int64_t position, std::span<const StepCache> caches,
                             int64_t entry_layer, float* entry);

 private:
  void run_layer(int64_t layer, const StepCache& cache, int64_t thread, int64_t threads);

  const ModelConfig& config_;
  const Weights& weights_;
  std::vector<float> x_;           // [E] residual stream
  std::vector<float> normed_;      // [threads, E]: every thread norms for itself
  std::vector<float> projected_;   // [(2 G + H) D]: k, v, q
  std::vector<float> query_;       // [H, D] rotated
  std::vector<float> attended_;    // [H, D]
  std::vector<float> gate_up_;     // [2 F]
  std::vector<float> gated_;       // [F]
  std::vector<float> scores_;      // [H, rows]
  std::vector<float> cosine_;      // [D / 2]
  std::vector<float> sine_;        // [D / 2]
  std::vector<double> frequency_;  // [D / 2]
  std::vector<float> logits_;      // [V]
  Barrier barrier_;
};

}  // namespace msa::model
