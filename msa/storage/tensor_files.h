#pragma once
// The tensors of a model folder: one model.safetensors, or the shards that its index names.

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

}  // namespace msa::storage
