// Safetensors files: what is accepted holds tensors side by side, and can be read to the last byte.

#include <algorithm>
#include <vector>

#include "msa/storage/safetensors.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/tensor_mutation.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

void check_file(FileSystem& files, const std::string& name, uint64_t header_end, size_t size) {
  const auto file = storage::SafetensorsFile::open(files, name);
  std::vector<std::pair<uint64_t, uint64_t>> spans;
  std::vector<storage::TensorToWrite> tensors;
  std::string bytes(size, '\0');
  for (const auto& [tensor, info] : file->tensors()) {
    auto elements = static_cast<uint64_t>(storage::data_type_bytes(info.type));
    const bool is_empty = std::ranges::find(info.shape, 0) != info.shape.end();
    for (const int64_t side : info.shape) {
      expect(is_empty || !__builtin_mul_overflow(elements, static_cast<uint64_t>(side), &elements),
             "a shape that overflows", tensor);
    }
    if (is_empty) elements = 0;
    expect(elements == info.num_bytes, "a tensor of another size", tensor);
    expect(info.num_bytes <= size, "a tensor larger than its file", tensor);
    const auto out = std::as_writable_bytes(std::span(bytes)).first(info.num_bytes);
    file->read(tensor, out);
    file->read_part(tensor, info.num_bytes / 2, out.subspan(info.num_bytes / 2));
    spans.emplace_back(info.offset, info.offset + info.num_bytes);
    tensors.push_back({tensor, info.type, info.shape, out});
  }
  std::ranges::sort(spans);
  uint64_t end = header_end;
  for (const auto& span : spans) {
    expect(span.first == end, "tensors overlap or leave a hole");
    end = span.second;
  }
  expect(end == size, "bytes behind the last tensor");
  // What we write of it reads the same.
  MemoryFiles copies;
  write_safetensors(copies, name, tensors, file->metadata());
  const auto copy = storage::SafetensorsFile::open(copies, name);
  expect(copy->tensors().size() == tensors.size() && copy->metadata() == file->metadata(),
         "a copy that differs");
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa;
  using namespace msa::fuzz;
  MemoryFiles files;
  const std::string name = "model.safetensors";
  const std::string file = text_of(data, size);
  files.put(name, file);
  accepts(name, [&] { check_file(files, name, load_number(file) + sizeof(uint64_t), size); });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa::fuzz;
  Random random(seed);
  return give(with_header_mutated(text_of(data, size), max_size, random), data, max_size);
}
