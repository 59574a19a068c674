#pragma once
// The shape of a model and its memory: config.json of the Hugging Face layout, checked.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/base/json.h"
#include "msa/memory/chunk_source.h"

namespace msa::model {

/// Whose rule says when routing vectors are L2-normalised (they differ for INFONCE_DECOUPLE and the
/// focal methods).
enum class RoutingConvention {
  kPaper,  // every method whose name contains INFONCE: the paper and the published training code
  kPublished,  // only INFONCE itself: the published inference code
};

/// What the tokens of an answer prompt see of each other.
enum class AnswerPromptAttention { kCausal, kFull };

struct ConfigOptions {
  RoutingConvention routing = RoutingConvention::kPaper;
  bool allow_two_top_k = false;       // accept doc_top_k != top_k_docs; doc_top_k then counts
  Json msa_changes = Json::object();  // keys of msa_config to replace
};

/// The `msa_config` object. A plain Qwen3 folder has none: no router layers, answers without
/// memory.
struct MsaConfig {
  std::vector<int64_t> router_layers;  // rising; empty without memory
  int64_t top_k = 16;  // documents chosen in each router layer; the question starts at 3 + top_k
  int64_t chunk_tokens = 64;   // P
  bool has_own_router = true;  // false: routes with the attention's own q and k
  bool normalises_routing = true;
  memory::RoutingRule rule;
  AnswerPromptAttention answer_prompt_attention = AnswerPromptAttention::kCausal;
};

struct ModelConfig {
  int64_t num_layers = 0;
  int64_t embed_dim = 0;     // E
  int64_t ffn_dim = 0;       // F
  int64_t num_heads = 0;     // H
  int64_t num_kv_heads = 0;  // G
  int64_t head_dim = 0;      // D
  int64_t vocab_size = 0;    // V
  double rms_eps = 1e-6;
  double rope_theta = 10000;
  bool ties_embeddings = false;
  bool has_int8_matrices = false;   // kept so, as quantization_config says
  std::vector<int64_t> end_tokens;  // eos_token_id of config.json and generation_config.json
  MsaConfig msa;
  Json raw;  // config.json as read: unknown keys are kept for writing it back

  /// True if documents can be routed to.
  bool has_memory() const { return !msa.router_layers.empty(); }

  /// The router layer's place among router layers, or -1.
  int64_t router_slot(int64_t layer) const;

  memory::MemoryShape memory_shape() const;

  /// D^-0.5, the factor of attention scores.
  float attention_scale() const;
};

/// Checks a parsed config.json. `what` names it in messages.
/// Throws Error(kInvalidFormat) naming the key, what was wanted and what came.
ModelConfig parse_config(const Json& json, std::string_view what,
                         const ConfigOptions& options = {});

/// Reads FOLDER/config.json (and generation_config.json for its end tokens, if there).
ModelConfig load_config(FileSystem& files, const std::filesystem::path& folder,
                        const ConfigOptions& options = {});

}  // namespace msa::model
