// model.safetensors.index.json over two shards: it leads to files of its folder alone, and says
// exactly what they hold.

#include "msa/storage/tensor_files.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/json_mutation.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

/// Files of the model's folder, none else may be opened.
class OneFolder final : public FileSystem {
 public:
  explicit OneFolder(MemoryFiles& files) : files_(files) {}
  std::unique_ptr<File> open_to_read(const std::filesystem::path& path) override {
    expect(path.parent_path() == "model" && path.lexically_normal() == path,
           "a file outside the folder", path.string());
    return files_.open_to_read(path);
  }
  std::unique_ptr<File> create(const std::filesystem::path&) override { fail("a file is made"); }
  void rename(const std::filesystem::path&, const std::filesystem::path&) override {}
  void remove(const std::filesystem::path&) override {}
  void create_directory(const std::filesystem::path&) override {}
  void remove_directory(const std::filesystem::path&) override {}
  void sync_directory(const std::filesystem::path&) override {}
  bool exists(const std::filesystem::path& path) override { return files_.exists(path); }
  std::vector<std::string> list(const std::filesystem::path& path) override {
    return files_.list(path);
  }
  uint64_t free_bytes(const std::filesystem::path&) override { return 0; }

 private:
  MemoryFiles& files_;
};

MemoryFiles shards() {
  MemoryFiles files;
  const std::string bytes(8, 'x');
  const auto write = [&](const char* name, std::initializer_list<const char*> tensors) {
    std::vector<storage::TensorToWrite> list;
    for (const char* tensor : tensors) {
      list.push_back({tensor, storage::DataType::kU8, {8}, std::as_bytes(std::span(bytes))});
    }
    write_safetensors(files, std::filesystem::path("model") / name, list);
  };
  write("1.safetensors", {"a", "b"});
  write("2.safetensors", {"c"});
  return files;
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa;
  using namespace msa::fuzz;
  static MemoryFiles files = shards();
  files.put("model/model.safetensors.index.json", text_of(data, size));
  OneFolder folder(files);
  accepts("model", [&] {
    const auto model = msa::storage::TensorFiles::open(folder, "model");
    for (const std::string& name : model.names()) {
      const storage::SafetensorsFile* file = model.find(name);
      expect(file != nullptr && file->tensors().contains(name), "a tensor that is nowhere", name);
    }
  });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa;
  using namespace msa::fuzz;
  Random random(seed);
  return give(with_json_mutated(text_of(data, size), max_size, random), data, max_size);
}
