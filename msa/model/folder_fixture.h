#pragma once
// What tests of model folders share: all tensors of a folder, byte for byte.

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/storage/safetensors.h"
#include "msa/storage/tensor_files.h"

namespace msa::model {

struct Tensor {
  storage::DataType type = storage::DataType::kBF16;
  std::vector<int64_t> shape;
  std::string bytes;

  bool operator==(const Tensor&) const = default;
};
using Tensors = std::map<std::string, Tensor>;

inline Tensors read_tensors(const std::filesystem::path& folder) {
  const auto files = storage::TensorFiles::open(real_file_system(), folder);
  Tensors tensors;
  for (const std::string& name : files.names()) {
    const storage::TensorInfo& info = files.find(name)->tensor(name);
    std::string bytes(info.num_bytes, '\0');
    files.find(name)->read(name, std::as_writable_bytes(std::span(bytes)));
    tensors[name] = {.type = info.type, .shape = info.shape, .bytes = bytes};
  }
  return tensors;
}

}  // namespace msa::model
