#pragma once
// Damages files, and puts them back as they were: for tests.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

namespace msa::memory {

inline void flip(const std::filesystem::path& path, int64_t offset, unsigned bit) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(offset);
  const int byte = file.get();
  file.seekp(offset);
  file.put(static_cast<char>(byte ^ (1 << bit)));
}

/// Puts a file back as it was, at the end and whenever asked.
class Keep {
 public:
  explicit Keep(std::filesystem::path path) : path_(std::move(path)) {
    std::ifstream file(path_, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }
  ~Keep() { restore(); }
  Keep(const Keep&) = delete;
  Keep& operator=(const Keep&) = delete;
  void restore() const {
    for (const char* log : {"-wal", "-shm"}) std::filesystem::remove(path_.string() + log);
    std::ofstream(path_, std::ios::binary) << bytes_;
  }

 private:
  std::filesystem::path path_;
  std::string bytes_;
};

}  // namespace msa::memory
