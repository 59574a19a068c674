#include "msa/corpus/line_reader.h"

#include <zstd.h>

#include <algorithm>
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
  std::vector<std::byte> input;  // compressed bytes not yet taken
  size_t input_first = 0;
  size_t hint = 1;   // 0: a frame has just ended
  std::string text;  // decoded bytes not yet given out
  size_t first = 0;
};

LineReader::LineReader(FileSystem& files, const std::filesystem::path& path,
                       const LineReaderOptions& options)
    : state_(std::make_unique<State>()), options_(options) {
  state_->file = files.open_to_read(path);
  state_->size = state_->file->size();
  if (path.extension() == ".zst") {
    state_->stream.reset(ZSTD_createDStream());
    ZSTD_DCtx_setParameter(state_->stream.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  }
}

LineReader::~LineReader() = default;

uint64_t LineReader::bytes_read() const { return state_->offset; }

/// Adds decoded bytes behind what is there; false at the end.
bool LineReader::fill() {
  State& s = *state_;
  s.text.erase(0, s.first);
  s.first = 0;
  const auto read_raw = [&](std::span<std::byte> out) {
    s.file->read_at(s.offset, out);
    s.offset += out.size();
  };
  const size_t left = static_cast<size_t>(std::min<uint64_t>(kReadBytes, s.size - s.offset));
  if (!s.stream) {
    if (left == 0) return false;
    const size_t held = s.text.size();
    s.text.resize(held + left);
    read_raw(std::as_writable_bytes(std::span(s.text).subspan(held)));
    return true;
  }
  for (;;) {
    if (s.input_first == s.input.size()) {
      const size_t count = static_cast<size_t>(std::min<uint64_t>(kReadBytes, s.size - s.offset));
      if (count == 0) {
        if (s.hint != 0) {
          throw Error(ErrorCode::kInvalidFormat, s.file->path().string(),
                      ": the compressed file ends too early");
        }
        return false;
      }
      s.input.resize(count);
      s.input_first = 0;
      read_raw(s.input);
    }
    const size_t held = s.text.size();
    s.text.resize(held + ZSTD_DStreamOutSize());
    ZSTD_inBuffer in{s.input.data(), s.input.size(), s.input_first};
    ZSTD_outBuffer out{s.text.data(), s.text.size(), held};
    s.hint = ZSTD_decompressStream(s.stream.get(), &out, &in);
    if (ZSTD_isError(s.hint)) {
      throw Error(ErrorCode::kInvalidFormat, s.file->path().string(),
                  ": not zstd: ", ZSTD_getErrorName(s.hint));
    }
    s.input_first = in.pos;
    s.text.resize(out.pos);
    if (out.pos > held) return true;
  }
}

bool LineReader::next(std::string& line) {
  State& s = *state_;
  size_t searched = s.first;
  for (;;) {
    const size_t end = s.text.find('\n', searched);
    if (end != std::string::npos) {
      line.assign(s.text, s.first, end - s.first);
      s.first = end + 1;
      break;
    }
    const size_t held = s.text.size() - s.first;
    if (held > options_.max_line_bytes) {
      throw Error(ErrorCode::kLimit, s.file->path().string(), " line ", line_number_ + 1,
                  ": longer than ", options_.max_line_bytes, " bytes");
    }
    if (!fill()) {
      if (s.text.empty()) return false;
      line = std::move(s.text);
      s.text.clear();
      break;
    }
    searched = held;
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  ++line_number_;
  return true;
}

std::string LineReader::rest() {
  State& s = *state_;
  while (fill()) {
    if (s.text.size() > options_.max_line_bytes) {
      throw Error(ErrorCode::kLimit, s.file->path().string(), ": longer than ",
                  options_.max_line_bytes, " bytes");
    }
  }
  return std::move(s.text);
}

}  // namespace msa::corpus
