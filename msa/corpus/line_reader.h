#pragma once
// Lines of a plain or zstd-compressed file, one at a time, in bounded memory.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "msa/base/file_system.h"

namespace msa::corpus {

struct LineReaderOptions {
  uint64_t max_line_bytes = uint64_t{64} << 20;
};

/// Not for use by several threads at once.
class LineReader {
 public:
  /// A name that ends in .zst is decompressed on the way.
  LineReader(FileSystem& files, const std::filesystem::path& path,
             const LineReaderOptions& options = {});
  ~LineReader();

  /// The next line without its line end; false at the end of the file.
  /// Throws Error(kLimit) for a longer line, Error(kInvalidFormat) for damaged compression.
  bool next(std::string& line);

  /// Everything that is left, up to max_line_bytes.
  std::string rest();

  int64_t line_number() const { return line_number_; }
  uint64_t bytes_read() const;  // of the file as it is stored

 private:
  bool fill();

  struct State;
  std::unique_ptr<State> state_;
  LineReaderOptions options_;
  int64_t line_number_ = 0;
};

}  // namespace msa::corpus
