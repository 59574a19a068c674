#include "msa/model/model_folder.h"

#include <memory>

#include "msa/base/error.h"
#include "msa/base/file_lock.h"
#include "msa/storage/tensor_files.h"

namespace msa::model {
namespace {

constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;
constexpr const char* kLock = "LOCK";

/// Files of a model folder that belong to its tokenizer or say how it ends its answers.
constexpr const char* kTokenizerFiles[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
    "merges.txt",     "added_tokens.json",     "chat_template.jinja",     "generation_config.json"};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

void write_files(FileSystem& files, const std::filesystem::path& folder,
                 const ModelFolder& content) {
  for (const char* name : kTokenizerFiles) {
    if (content.tokenizer.empty() || !files.exists(content.tokenizer / name)) continue;
    const std::string bytes = read_file(files, content.tokenizer / name, kMaxTokenizerBytes);
    write_file_atomically(files, folder / name, bytes_of(bytes));
  }
  if (!content.card.empty()) {
    write_file_atomically(files, folder / "README.md", bytes_of(content.card));
  }
  write_file_atomically(files, folder / "config.json", bytes_of(content.config.dump(2) + "\n"));
}

void expect_room(FileSystem& files, const std::filesystem::path& folder,
                 std::span<const storage::TensorStream> tensors) {
  uint64_t wanted = 0;
  for (const storage::TensorStream& tensor : tensors) wanted += tensor.num_bytes();
  const uint64_t free = files.free_bytes(folder);
  if (wanted > free) {
    throw Error(ErrorCode::kNoSpace, folder.string(), " needs ", wanted, " bytes, ", free,
                " are free on its volume");
  }
}

/// The lock of a folder that nobody else writes to.
std::unique_ptr<FileLock> take(FileSystem& files, const std::filesystem::path& folder) {
  MSA_CHECK(!files.exists(folder) || files.exists(folder / kLock), folder.string(),
            " is in the way: it is no model folder that was left unfinished");
  files.create_directory(folder);
  return FileLock::acquire(folder / kLock);
}

void remove_all_but_lock(FileSystem& files, const std::filesystem::path& folder) {
  for (const std::string& name : files.list(folder)) {
    if (name != kLock) files.remove(folder / name);
  }
}

void remove_folder(FileSystem& files, const std::filesystem::path& folder) {
  for (const std::string& name : files.list(folder)) files.remove(folder / name);
  files.remove_directory(folder);
}

}  // namespace

int64_t write_model_folder(FileSystem& files, std::filesystem::path folder,
                           const ModelFolder& content) {
  folder = folder.lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();  // "name/"
  const auto expect_free_name = [&] {
    MSA_CHECK(!files.exists(folder), "a model folder needs a name that is free: ", folder.string(),
              " is there");
  };
  expect_free_name();
  const std::filesystem::path unfinished = folder.string() + ".tmp";
  const std::unique_ptr<FileLock> lock = take(files, unfinished);
  int64_t num_files = 0;
  try {
    expect_free_name();  // another writer may have ended since
    remove_all_but_lock(files, unfinished);
    expect_room(files, unfinished, content.tensors);
    num_files =
        storage::write_tensor_files(files, unfinished, content.tensors, content.max_shard_bytes);
    write_files(files, unfinished, content);
    files.rename(unfinished, folder);
  } catch (...) {
    try {
      remove_folder(files, unfinished);
    } catch (const Error&) {
      // What stopped the write is what the caller must know.
    }
    throw;
  }
  files.remove(folder / kLock);
  files.sync_directory(folder);
  files.sync_directory(folder.has_parent_path() ? folder.parent_path() : ".");
  return num_files;
}

}  // namespace msa::model
