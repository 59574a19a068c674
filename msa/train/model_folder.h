#pragma once
// Writes learned weights as a model folder of the Hugging Face layout.

#include <cstdint>
#include <filesystem>

#include "msa/base/file_system.h"
#include "msa/model/model_folder.h"
#include "msa/train/config.h"
#include "msa/train/parameters.h"

namespace msa::train {

struct ModelFolderOptions {
  Numbers numbers = Numbers::kBFloat16;
  std::filesystem::path tokenizer;  // folder whose tokenizer files are copied, if set
  int64_t max_shard_bytes = model::kShardBytes;
};

/// Publishes config.json (as the parameters' config was read, with the type of the numbers),
/// weights and tokenizer files as model::write_model_folder, with its errors. Error(kInternal)
/// naming the tensor if a value is not finite.
void write_model_folder(FileSystem& files, const std::filesystem::path& folder,
                        const Parameters& parameters, const ModelFolderOptions& options = {});

}  // namespace msa::train
