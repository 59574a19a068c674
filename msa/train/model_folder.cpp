#include "msa/train/model_folder.h"

#include <ATen/ATen.h>

#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/storage/safetensors.h"
#include "msa/train/guard.h"
#include "msa/train/stored_tensor.h"

namespace msa::train {
namespace {

constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;

/// Files of a model folder that belong to its tokenizer or say how it ends its answers.
constexpr const char* kTokenizerFiles[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
    "merges.txt",     "added_tokens.json",     "chat_template.jinja",     "generation_config.json"};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

/// Parameters side by side, each run with at most `max_bytes`.
std::vector<std::span<const NamedTensor>> shards_of(std::span<const NamedTensor> all,
                                                    int64_t value_bytes, int64_t max_bytes) {
  std::vector<std::span<const NamedTensor>> shards;
  size_t begin = 0;
  int64_t bytes = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const int64_t more = all[i].tensor.numel() * value_bytes;
    if (i > begin && bytes + more > max_bytes) {
      shards.push_back(all.subspan(begin, i - begin));
      begin = i;
      bytes = 0;
    }
    bytes += more;
  }
  shards.push_back(all.subspan(begin));
  return shards;
}

void write_shard(FileSystem& files, const std::filesystem::path& path,
                 std::span<const NamedTensor> tensors, at::ScalarType type) {
  std::vector<NamedTensor> on_host;
  for (const NamedTensor& tensor : tensors) {
    on_host.push_back(to_host({.name = tensor.name, .tensor = tensor.tensor.detach().to(type)}));
  }
  std::vector<storage::TensorToWrite> to_be_written;
  for (const NamedTensor& tensor : on_host) to_be_written.push_back(to_write(tensor));
  storage::write_safetensors(files, path, to_be_written, {{"format", "pt"}});
}

void write_weights(FileSystem& files, const std::filesystem::path& folder,
                   const Parameters& parameters, const ModelFolderOptions& options) {
  const bool is_float32 = options.numbers == Numbers::kFloat32;
  const at::ScalarType type = is_float32 ? at::kFloat : at::kBFloat16;
  const auto shards = shards_of(parameters.all(), is_float32 ? 4 : 2, options.max_shard_bytes);
  if (shards.size() == 1) {
    write_shard(files, folder / "model.safetensors", shards[0], type);
    return;
  }
  OrderedJson map = OrderedJson::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    write_shard(files, folder / name, shards[i], type);
    for (const NamedTensor& tensor : shards[i]) map[tensor.name] = name;
  }
  const OrderedJson index{
      {"metadata", {{"total_size", parameters.num_values() * (is_float32 ? 4 : 2)}}},
      {"weight_map", map}};
  write_file_atomically(files, folder / "model.safetensors.index.json",
                        bytes_of(index.dump(2) + "\n"));
}

void remove_folder(FileSystem& files, const std::filesystem::path& folder) {
  for (const std::string& name : files.list(folder)) files.remove(folder / name);
  files.remove_directory(folder);
}

}  // namespace

void write_model_folder(FileSystem& files, const std::filesystem::path& folder,
                        const Parameters& parameters, const ModelFolderOptions& options) {
  MSA_CHECK(!files.exists(folder), "a model folder needs a name that is free: ", folder.string(),
            " is there");
  const std::vector<std::string> names = not_finite(parameters.all());
  if (!names.empty()) {
    throw Error(ErrorCode::kInternal, "no model folder: tensor \"", names[0],
                "\" holds a value that is not finite");
  }
  const std::filesystem::path unfinished = folder.string() + ".tmp";
  if (files.exists(unfinished)) remove_folder(files, unfinished);
  files.create_directory(unfinished);
  try {
    write_weights(files, unfinished, parameters, options);
    for (const char* name : kTokenizerFiles) {
      if (options.tokenizer.empty() || !files.exists(options.tokenizer / name)) continue;
      const std::string bytes = read_file(files, options.tokenizer / name, kMaxTokenizerBytes);
      write_file_atomically(files, unfinished / name, bytes_of(bytes));
    }
    Json config = parameters.config().raw;
    config["torch_dtype"] = options.numbers == Numbers::kFloat32 ? "float32" : "bfloat16";
    write_file_atomically(files, unfinished / "config.json", bytes_of(config.dump(2) + "\n"));
    files.rename(unfinished, folder);
  } catch (...) {
    try {
      remove_folder(files, unfinished);
    } catch (const Error&) {
      // What stopped the write is what the caller must know.
    }
    throw;
  }
  files.sync_directory(folder.has_parent_path() ? folder.parent_path() : ".");
}

}  // namespace msa::train
