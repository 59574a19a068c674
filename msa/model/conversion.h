#pragma once
// Makes a model folder of another one: with memory of a plain one, without, in other numbers or
// shards.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/model/config.h"
#include "msa/model/model_folder.h"
#include "msa/storage/safetensors.h"

namespace msa::model {

/// What a model without memory gets. In every router layer router_k = k_proj, and router_q of each
/// query head = router_k of its kv head.
struct FreshRouters {
  std::vector<int64_t> layers;  // rising, of the new model; the upper half where empty
  int64_t chunk_tokens = 64;    // P
  int64_t top_k = 16;           // documents chosen in each router layer
};

/// What the new folder is a model of.
enum class ModelForm {
  kMsa,
  kQwen3,  // what any reader of Qwen3 takes: routers and msa_config are left out
};

/// What becomes of tensors that belong to no layer of config.json.
enum class UnknownTensors { kRefused, kCopied, kLeftOut };

struct ConversionOptions {
  std::filesystem::path from;
  std::filesystem::path to;  // a free name in a folder that is there
  ModelForm form = ModelForm::kMsa;
  std::optional<FreshRouters> routers;  // given only for a model without memory
  int64_t expand_every = 0;             // block_expansion.h; 0: as many layers as before
  // F32 or BF16; I8 of the layers' matrices, the rest then being BF16; else each tensor keeps its
  // own.
  std::optional<storage::DataType> type;
  UnknownTensors unknown = UnknownTensors::kRefused;
  std::filesystem::path card;  // what README.md says besides the model's shape, see model_card
  int64_t max_shard_bytes = kShardBytes;
  // Called after every piece with the bytes of tensors written and to write; may throw to end.
  std::function<void(uint64_t done, uint64_t total)> on_progress;
};

struct Conversion {
  ModelConfig config;          // of the new folder
  int64_t num_parameters = 0;  // that the forward pass reads
  uint64_t num_bytes = 0;      // of tensors
  int64_t num_files = 0;       // with tensors
  std::string types;           // of its parameters: "BF16", "BF16, F32"; scales are none
  bool has_fresh_routers = false;
  std::vector<std::string> copied;    // unknown tensors
  std::vector<std::string> left_out;  // tensors of the old folder that the new one lacks
};

/// Reads and writes piece by piece: a model may be larger than memory. The new folder has the old
/// one's config.json with what the conversion changes, its tokenizer files and
/// generation_config.json, and a README.md. Throws Error(kInvalidArgument) if an option does not
/// fit the model, Error(kInvalidFormat) naming file and tensor if one is missing, unknown, of
/// another shape or type, or not finite, or as load_config, StoredWeights, model_card and
/// write_model_folder; the new folder is then not there.
Conversion convert_model(FileSystem& files, const ConversionOptions& options);

}  // namespace msa::model
