#pragma once
// The weights of a model folder in the form that the forward pass reads.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/model/config.h"
#include "msa/model/transformer_options.h"

namespace msa::model {

/// All projections that read the attention input stand in one matrix, so that each job is one
/// product over a run of rows: a document needs [rk k v q], the last router layer of a document [rk
/// k v], a question [k v q rq], a decoding step [k v q]. The router parts are absent outside router
/// layers.
struct LayerWeights {
  at::Tensor input_norm;          // [E]
  at::Tensor post_norm;           // [E]
  at::Tensor q_norm;              // [D]
  at::Tensor k_norm;              // [D]
  at::Tensor input;               // [rk + k + v + q + rq, E]
  at::Tensor output;              // [E, H * D]
  at::Tensor gate_up;             // [2 * F, E]: gate, then up
  at::Tensor down;                // [E, F]
  int64_t router_key_rows = 0;    // G * D or 0
  int64_t router_query_rows = 0;  // H * D or 0
};

/// Matrices are float32 or bfloat16 as `precision` says. `step` holds the same matrices in the
/// smaller of the stored and the computed type, for decoding, which is bound by the bytes it reads:
/// a bfloat16 weight widens to float32 exactly.
struct Weights {
  Precision precision = Precision::kFloat32;
  at::Tensor embedding;   // [V, E] float32 or bfloat16, as stored
  at::Tensor final_norm;  // [E]
  at::Tensor head;        // [V, E]; a view of the embedding where tied and of the same type
  std::vector<LayerWeights> layers;

  struct Step {
    at::Tensor head;
    std::vector<LayerWeights> layers;
  } step;

  int64_t num_parameters = 0;
  // 32 hex digits over all tensors as stored, and what of the config changes a memory.
  std::string fingerprint;
};

/// Reads model.safetensors or its shards. Throws Error(kInvalidFormat) naming the tensor if one is
/// missing, has another shape or type than the config asks for, or holds a value that is not
/// finite.
Weights load_weights(FileSystem& files, const std::filesystem::path& folder,
                     const ModelConfig& config, Precision precision);

}  // namespace msa::model
