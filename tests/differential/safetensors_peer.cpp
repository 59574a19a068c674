// What our reader and writer of safetensors make of files that come on the standard input.
//
// A request is a byte, 'c' to check or 'r' to read and write anew, the length of a file in 8 bytes,
// and the file. The answer is a byte, 1 if the file was accepted, a length in 8 bytes, and the
// file as we write it ('r') or why it was refused. Numbers are little-endian.

#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/storage/safetensors.h"
#include "tests/support/memory_files.h"

namespace {

using namespace msa;

struct Answer {
  char is_accepted = 0;
  std::string bytes;
};

Answer answer(bool writes, std::string file) {
  constexpr const char* kName = "x.safetensors";
  MemoryFiles files;
  files.put(kName, std::move(file));
  try {
    const auto read = storage::SafetensorsFile::open(files, kName);
    if (!writes) return {1, ""};
    std::vector<std::string> values;
    std::vector<storage::TensorToWrite> tensors;
    values.reserve(read->tensors().size());
    for (const auto& [name, info] : read->tensors()) {
      std::string& bytes = values.emplace_back(info.num_bytes, '\0');
      read->read(name, std::as_writable_bytes(std::span(bytes)));
      tensors.push_back({name, info.type, info.shape, std::as_bytes(std::span(bytes))});
    }
    write_safetensors(files, "y", tensors, read->metadata());
    return {1, files.at("y")};
  } catch (const Error& error) {
    return {0, error.what()};
  }
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (char request = 0; std::cin.get(request);) {
    uint64_t length = 0;
    std::cin.read(reinterpret_cast<char*>(&length), sizeof length);
    std::string file(length, '\0');
    std::cin.read(file.data(), static_cast<std::streamsize>(length));
    const Answer given = answer(request == 'r', std::move(file));
    const uint64_t size = given.bytes.size();
    std::cout.put(given.is_accepted);
    std::cout.write(reinterpret_cast<const char*>(&size), sizeof size);
    std::cout.write(given.bytes.data(), static_cast<std::streamsize>(size));
    std::cout.flush();
  }
  return 0;
}
