#include "msa/storage/tensor_files.h"

#include <utility>

#include "msa/base/error.h"
#include "msa/base/json.h"

namespace msa::storage {
namespace {

constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;

/// A name that can only mean a file directly inside the folder.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace

TensorFiles TensorFiles::open(FileSystem& files, const std::filesystem::path& folder) {
  TensorFiles result;
  result.folder_ = folder;
  const auto single = folder / "model.safetensors";
  const auto index = folder / "model.safetensors.index.json";
  if (files.exists(single)) {
    result.shards_.push_back(SafetensorsFile::open(files, single));
    for (const auto& [name, info] : result.shards_.back()->tensors()) {
      result.owner_[name] = result.shards_.back().get();
    }
    return result;
  }
  if (!files.exists(index)) {
    throw Error(ErrorCode::kNotFound, folder.string(),
                " holds neither model.safetensors nor model.safetensors.index.json");
  }
  const Json json = parse_json(read_file(files, index, kMaxIndexBytes), index.string());
  if (!json.is_object() || !json.contains("weight_map") || !json.at("weight_map").is_object()) {
    throw Error(ErrorCode::kInvalidFormat, index.string(),
                ": the object \"weight_map\" is missing");
  }
  std::map<std::string, const SafetensorsFile*> shard_of;
  for (const auto& [tensor, value] : json.at("weight_map").items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : std::string();
    if (!is_plain_name(file)) {
      throw Error(ErrorCode::kInvalidFormat, index.string(), ": tensor \"", tensor,
                  "\" must name a file of the same folder, got ", to_line(value).substr(0, 100));
    }
    if (!shard_of.contains(file)) {
      result.shards_.push_back(SafetensorsFile::open(files, folder / file));
      shard_of[file] = result.shards_.back().get();
    }
    if (!shard_of[file]->tensors().contains(tensor)) {
      throw Error(ErrorCode::kInvalidFormat, index.string(), ": tensor \"", tensor, "\" is not in ",
                  file);
    }
    result.owner_[tensor] = shard_of[file];
  }
  for (const auto& [file, shard] : shard_of) {
    for (const auto& [tensor, info] : shard->tensors()) {
      const auto owner = result.owner_.find(tensor);
      if (owner == result.owner_.end() || owner->second != shard) {
        throw Error(ErrorCode::kInvalidFormat, (folder / file).string(), ": holds the tensor \"",
                    tensor, "\" that the index does not place there");
      }
    }
  }
  return result;
}

const SafetensorsFile* TensorFiles::find(const std::string& name) const {
  const auto found = owner_.find(name);
  return found == owner_.end() ? nullptr : found->second;
}

std::vector<std::string> TensorFiles::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : owner_) names.push_back(name);
  return names;
}

}  // namespace msa::storage
