#pragma once
// Lines of a plain or zstd-compressed file, one at a time, in bounded memory.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "msa/base/file_system.h"

namespace msa::corpus {

struct LineReaderOptions {
  uint64_t max_line_bytes = uint64_t{64} << 20;  // without the line end
  uint64_t max_total_bytes = uint64_t{1} << 40;  // of decoded text: a small file may hold much
  uint64_t max_growth = 1000;  // decoded bytes for one that is stored, beyond free_growth_bytes
  uint64_t free_growth_bytes = uint64_t{256} << 20;  // decoded, of which growth does not count
};

/// Holds one line and half a megabyte more; a compressed file adds its window, at most 128 MiB.
/// Not for use by several threads at once.
class LineReader {
 public:
  /// A name that ends in .zst is decompressed on the way. `files` must outlive the reader.
  /// Throws as FileSystem::open_to_read.
  LineReader(FileSystem& files, const std::filesystem::path& path,
             const LineReaderOptions& options = {});
  ~LineReader();

  /// The next line without its line end (LF or CRLF); false at the end of the file.
  /// Throws Error(kLimit) for a line that is too long: it is skipped, and the next call goes on
  /// behind it. After any other error the reader is at its end: Error(kInvalidFormat) for damaged
  /// compression, Error(kLimit) past max_total_bytes or max_growth, and those of File::read_at.
  bool next(std::string& line);

  /// Everything that is left, bytes as they are. Throws Error(kLimit) if that is more than
  /// max_line_bytes, else as next(); the reader is then at its end.
  std::string rest();

  /// Of the line that the last call of next() gave or failed at, from 1.
  int64_t line_number() const { return line_number_; }

  /// Of the file as it is stored, up to 256 KiB ahead of the lines given.
  uint64_t bytes_read() const;

 private:
  bool fill();
  void skip_line();

  struct State;
  std::unique_ptr<State> state_;
  LineReaderOptions options_;
  int64_t line_number_ = 0;
};

}  // namespace msa::corpus
