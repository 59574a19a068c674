#pragma once
// The weights of a model folder, checked against its config, in any of the forms they are kept in.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/model/config.h"
#include "msa/storage/stored_values.h"
#include "msa/storage/tensor_files.h"

namespace msa::model {

/// Immutable; calls may overlap. docs/format/model.md describes the files.
class StoredWeights {
 public:
  /// Throws as TensorFiles::open.
  static StoredWeights open(FileSystem& files, const std::filesystem::path& folder,
                            const ModelConfig& config);

  /// A weight, or nothing if it is not there. Borrows from this. Throws Error(kInvalidFormat)
  /// naming file and tensor unless it has the shape, a vector of one counting as a scalar, and is
  /// F32, BF16 or F16; or a matrix of I8 in a folder whose config has int8 matrices, with scales
  /// [rows, 1] of such a type.
  std::optional<storage::StoredTensor> find(const std::string& name,
                                            const std::vector<int64_t>& shape) const;

  /// The same, and throws Error(kInvalidFormat) if it is not there.
  storage::StoredTensor at(const std::string& name, const std::vector<int64_t>& shape) const;

  /// True for a tensor of I8 beside which its scales stand.
  bool has_scales(const std::string& name) const;

  /// Names of all tensors, sorted, without the scales of others.
  std::vector<std::string> names() const;

  const storage::TensorFiles& files() const { return files_; }

 private:
  StoredWeights(storage::TensorFiles files, bool has_int8_matrices)
      : files_(std::move(files)), has_int8_matrices_(has_int8_matrices) {}

  bool is_scale(const std::string& name) const;

  storage::TensorFiles files_;
  bool has_int8_matrices_;
};

}  // namespace msa::model
