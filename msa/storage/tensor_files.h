#pragma once
// The tensors of a model folder, read and written: one model.safetensors, or the shards that its
// index names.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "msa/storage/safetensors.h"

namespace msa::storage {

/// Immutable; read may be called from several threads.
class TensorFiles {
 public:
  /// Opens FOLDER/model.safetensors, else the shards of FOLDER/model.safetensors.index.json. The
  /// index may name plain files of the folder only, and must name exactly the tensors that its
  /// files hold. Throws Error(kNotFound) if neither is there, Error(kInvalidFormat) naming file and
  /// tensor otherwise.
  static TensorFiles open(FileSystem& files, const std::filesystem::path& folder);

  /// The file that holds a tensor, or null.
  const SafetensorsFile* find(const std::string& name) const;

  /// Names of all tensors, sorted.
  std::vector<std::string> names() const;

  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::map<std::string, const SafetensorsFile*> owner_;
};

/// Writes FOLDER/model.safetensors; more than `max_shard_bytes` of tensors become shards
/// model-00001-of-0000N.safetensors with their index. No shard holds more, but one of a single
/// tensor. Tensors come in their order, within a file those of wider types first.
/// Returns the number of files with tensors.
int64_t write_tensor_files(FileSystem& files, const std::filesystem::path& folder,
                           std::span<const TensorStream> tensors, int64_t max_shard_bytes);

}  // namespace msa::storage
