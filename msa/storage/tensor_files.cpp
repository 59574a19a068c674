#include "msa/storage/tensor_files.h"

#include <algorithm>
#include <cstdio>
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

/// Tensors side by side, each run with at most `max_bytes`.
std::vector<std::vector<TensorStream>> shards_of(std::span<const TensorStream> tensors,
                                                 uint64_t max_bytes) {
  std::vector<std::vector<TensorStream>> shards(1);
  uint64_t bytes = 0;
  for (const TensorStream& tensor : tensors) {
    const uint64_t more = tensor.num_bytes();
    if (!shards.back().empty() && (bytes >= max_bytes || more > max_bytes - bytes)) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(tensor);
    bytes += more;
  }
  // Readers that view a file in place want every value at a multiple of its size.
  for (auto& shard : shards) {
    std::stable_sort(shard.begin(), shard.end(), [](const TensorStream& a, const TensorStream& b) {
      return data_type_bytes(a.type) > data_type_bytes(b.type);
    });
  }
  return shards;
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

int64_t write_tensor_files(FileSystem& files, const std::filesystem::path& folder,
                           std::span<const TensorStream> tensors, int64_t max_shard_bytes) {
  MSA_CHECK(max_shard_bytes > 0, "a shard must have room, got ", max_shard_bytes, " bytes");
  const std::map<std::string, std::string> metadata{{"format", "pt"}};
  const auto shards = shards_of(tensors, static_cast<uint64_t>(max_shard_bytes));
  if (shards.size() == 1) {
    write_safetensors(files, folder / "model.safetensors", shards[0], metadata);
    return 1;
  }
  OrderedJson map = OrderedJson::object();
  uint64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    write_safetensors(files, folder / name, shards[i], metadata);
    for (const TensorStream& tensor : shards[i]) {
      map[tensor.name] = name;
      total += tensor.num_bytes();
    }
  }
  const OrderedJson index{{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  const std::string text = index.dump(2) + "\n";
  write_file_atomically(files, folder / "model.safetensors.index.json",
                        std::as_bytes(std::span(text)));
  return static_cast<int64_t>(shards.size());
}

}  // namespace msa::storage
