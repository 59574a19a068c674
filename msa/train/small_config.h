#pragma once
// A model small enough for tests, with memory.

#include "msa/model/config.h"

namespace msa::train {

/// `changes` are merged into config.json, those of msa_config too.
inline model::ModelConfig small_config(const Json& changes = Json::object()) {
  Json json{{"model_type", "msa"},
            {"architectures", {"MSAForCausalLM"}},
            {"num_hidden_layers", 3},
            {"hidden_size", 16},
            {"intermediate_size", 24},
            {"num_attention_heads", 4},
            {"num_key_value_heads", 2},
            {"head_dim", 8},
            {"vocab_size", 40},
            {"rms_norm_eps", 1e-6},
            {"rope_theta", 10000.0},
            {"tie_word_embeddings", true},
            {"eos_token_id", 2},
            {"unknown_key", "stays"},
            {"msa_config",
             {{"router_layer_idx", "1,2"},
              {"doc_top_k", 4},
              {"pooling_kernel_size", 4},
              {"decouple_router", true},
              {"aux_loss_method", "INFONCE"}}}};
  json.merge_patch(changes);
  return model::parse_config(json, "small config");
}

}  // namespace msa::train
