#pragma once
// Writes a model folder of the Hugging Face layout, all or nothing.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "msa/base/file_system.h"
#include "msa/base/json.h"
#include "msa/storage/safetensors.h"

namespace msa::model {

constexpr int64_t kShardBytes = 5'000'000'000;

struct ModelFolder {
  Json config;                                     // config.json
  std::span<const storage::TensorStream> tensors;  // in the order in which they are written
  std::filesystem::path tokenizer;        // folder whose tokenizer files and generation_config.json
                                          // are copied, if set
  std::string card;                       // README.md, if not empty
  int64_t max_shard_bytes = kShardBytes;  // of tensors; more make several files and an index
};

/// Publishes `content` as `folder`: it is written as FOLDER.tmp, under a lock, synced and renamed;
/// what a writer that was killed left there is removed first, and what this one wrote if it
/// fails. Returns the number of files with tensors. The folder's parent must be there, and nothing
/// under its name. Throws Error(kInvalidArgument) if there is, or if FOLDER.tmp is something else,
/// Error(kLocked) if another process writes it, Error(kNoSpace) before the first byte if the
/// volume has no room for the tensors, what TensorStream::write throws, or as FileSystem.
int64_t write_model_folder(FileSystem& files, std::filesystem::path folder,
                           const ModelFolder& content);

}  // namespace msa::model
