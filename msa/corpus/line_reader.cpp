#include "msa/corpus/line_reader.h"

#include <zstd.h>

#include <algorithm>
#include <span>
#include <vector>

#include "msa/base/error.h"

namespace msa::corpus {
namespace {

constexpr size_t kReadBytes = size_t{1} << 18;
constexpr int kMaxWindowLog = 27;

struct FreeStream {
  void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
};

}  // namespace

struct LineReader::State {
  std::unique_ptr<File> file;
  uint64_t size = 0;
  uint64_t offset = 0;  // of what has been read from the file
  std::unique_ptr<ZSTD_DStream, FreeStream> stream;
  std::vector<std::byte> input;  // compressed bytes, taken up to input_first
  size_t input_first = 0;
  size_t hint = 1;  // 0: a frame has just ended
  uint64_t decoded = 0;
  std::string text;  // decoded bytes, given out up to `first`
  size_t first = 0;
  bool is_over = false;

  std::string name() const { return file->path().string(); }

  size_t next_read_bytes() const {
    return static_cast<size_t>(std::min<uint64_t>(kReadBytes, size - offset));
  }

  void read_raw(std::span<std::byte> out) {
    file->read_at(offset, out);
    offset += out.size();
  }

  /// Adds stored bytes to the text; false at the end of the file.
  bool copy_more() {
    const size_t count = next_read_bytes();
    if (count == 0) return false;
    const size_t held = text.size();
    text.resize(held + count);
    read_raw(std::as_writable_bytes(std::span(text).subspan(held)));
    return true;
  }

  /// Adds decompressed bytes to the text; false at the end of the last frame.
  bool decompress_more() {
    for (;;) {
      if (input_first == input.size()) {
        const size_t count = next_read_bytes();
        if (count == 0) {
          if (hint == 0) return false;
          throw Error(ErrorCode::kInvalidFormat, name(), ": the compressed file ends too early");
        }
        input.resize(count);
        input_first = 0;
        read_raw(input);
      }
      const size_t held = text.size();
      text.resize(held + ZSTD_DStreamOutSize());
      ZSTD_inBuffer in{input.data(), input.size(), input_first};
      ZSTD_outBuffer out{text.data(), text.size(), held};
      hint = ZSTD_decompressStream(stream.get(), &out, &in);
      if (ZSTD_isError(hint)) {
        throw Error(ErrorCode::kInvalidFormat, name(),
                    ": damaged zstd data: ", ZSTD_getErrorName(hint));
      }
      input_first = in.pos;
      text.resize(out.pos);
      if (out.pos > held) return true;
    }
  }

  void end() {
    text.clear();
    first = 0;
    is_over = true;
  }
};

LineReader::LineReader(FileSystem& files, const std::filesystem::path& path,
                       const LineReaderOptions& options)
    : state_(std::make_unique<State>()), options_(options) {
  state_->file = files.open_to_read(path);
  state_->size = state_->file->size();
  if (path.extension() == ".zst") {
    state_->stream.reset(ZSTD_createDStream());
    if (!state_->stream) throw Error(ErrorCode::kLimit, path.string(), ": no memory for zstd");
    ZSTD_DCtx_setParameter(state_->stream.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  }
}

LineReader::~LineReader() = default;

uint64_t LineReader::bytes_read() const { return state_->offset; }

/// Adds decoded bytes behind what is there, which moves to the front; false at the end.
bool LineReader::fill() {
  State& s = *state_;
  if (s.is_over) return false;
  s.text.erase(0, s.first);
  s.first = 0;
  const size_t held = s.text.size();
  try {
    if (!(s.stream ? s.decompress_more() : s.copy_more())) {
      s.is_over = true;
      return false;
    }
    s.decoded += s.text.size() - held;
    if (s.decoded > options_.max_total_bytes) {
      throw Error(ErrorCode::kLimit, s.name(), ": holds more than ", options_.max_total_bytes,
                  " bytes of text");
    }
    if (s.decoded > options_.free_growth_bytes && s.decoded / options_.max_growth > s.offset) {
      throw Error(ErrorCode::kLimit, s.name(), ": holds more than ", options_.max_growth,
                  " bytes of text for a byte of the file");
    }
  } catch (...) {
    s.end();
    throw;
  }
  return true;
}

void LineReader::skip_line() {
  State& s = *state_;
  do {
    s.text.clear();
    s.first = 0;
    if (!fill()) return;
  } while (s.text.find('\n') == std::string::npos);
  s.first = s.text.find('\n') + 1;
}

bool LineReader::next(std::string& line) {
  State& s = *state_;
  ++line_number_;
  const auto throw_too_long = [&] {
    throw Error(ErrorCode::kLimit, s.name(), " line ", line_number_, ": longer than ",
                options_.max_line_bytes, " bytes");
  };
  size_t searched = s.first;
  for (;;) {
    const size_t end = s.text.find('\n', searched);
    if (end != std::string::npos) {
      line.assign(s.text, s.first, end - s.first);
      s.first = end + 1;
      break;
    }
    const size_t held = s.text.size() - s.first;
    if (held > 1 && held - 1 > options_.max_line_bytes) {  // one of them may be the CR
      skip_line();
      throw_too_long();
    }
    if (!fill()) {
      line.assign(s.text, s.first);
      s.end();
      if (line.empty()) {
        --line_number_;
        return false;
      }
      break;
    }
    searched = held;
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  if (line.size() > options_.max_line_bytes) throw_too_long();
  return true;
}

std::string LineReader::rest() {
  State& s = *state_;
  do {
    if (s.text.size() - s.first > options_.max_line_bytes) {
      s.end();
      throw Error(ErrorCode::kLimit, s.name(), ": longer than ", options_.max_line_bytes, " bytes");
    }
  } while (fill());
  std::string all = s.text.substr(s.first);
  s.end();
  return all;
}

}  // namespace msa::corpus
