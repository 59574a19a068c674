#include "msa/samples/token_cache.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <optional>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/file_lock.h"
#include "msa/base/threads.h"
#include "msa/corpus/document_reader.h"
#include "msa/corpus/passage_splitter.h"
#include "msa/storage/digest.h"

namespace msa::samples {
namespace {

using OnProgress = std::function<void(const std::string& what, double share)>;

constexpr uint64_t kReadBytes = uint64_t{4} << 20;
constexpr size_t kBlockBytes = size_t{4} << 20;  // of text, tokenised while the next is read
constexpr std::chrono::milliseconds kLockWait{50};

/// Of everything that the token file follows from.
storage::Digest key_of(FileSystem& files, const FrameEncoder& encoder,
                       const std::filesystem::path& documents, int64_t max_document_tokens) {
  storage::Digester digester;
  digester.add(std::to_string(kTokenStoreVersion) + " " + std::to_string(max_document_tokens) +
               " " + encoder.layout().tokenizer().fingerprint() + " " +
               documents.filename().string() + "\n");
  const auto file = files.open_to_read(documents);
  std::vector<std::byte> room(std::min(kReadBytes, file->size()));
  for (uint64_t offset = 0; offset < file->size();) {
    const auto part = std::span(room).first(std::min(kReadBytes, file->size() - offset));
    file->read_at(offset, part);
    digester.add(part);
    offset += part.size();
  }
  return digester.finish();
}

struct Block {
  std::vector<corpus::SourceDocument> documents;
  double share = 0;  // of the file, read so far
};

/// Reads documents in blocks; strict.
class BlockReader {
 public:
  BlockReader(FileSystem& files, const std::filesystem::path& path)
      : reader_(files, {path}, [this](const corpus::InputProblem& problem) {
          if (!problem_) problem_ = problem;
        }) {}

  /// Empty at the end.
  Block next() {
    Block block;
    size_t num_bytes = 0;
    for (corpus::SourceDocument document; num_bytes < kBlockBytes && read(document);) {
      num_bytes += document.text.size();
      block.documents.push_back(std::move(document));
    }
    block.share = static_cast<double>(reader_.bytes_read()) /
                  static_cast<double>(std::max<uint64_t>(reader_.total_bytes(), 1));
    return block;
  }

 private:
  bool read(corpus::SourceDocument& document) {
    const bool is_there = reader_.next(document);
    if (problem_) refuse(problem_->file, problem_->line, problem_->what);
    if (!is_there) return false;
    const std::string line = std::to_string(document.line);
    if (document.name == document.file + ":" + line) {
      // Names must not say in which folder the file lay when it was read.
      document.name = std::filesystem::path(document.file).filename().string() + ":" + line;
    }
    const auto [earlier, is_new] = lines_.try_emplace(document.name, document.line);
    if (!is_new) {
      refuse(document.file, document.line,
             "the id \"" + document.name + "\" is that of line " + std::to_string(earlier->second) +
                 " too");
    }
    return true;
  }

  [[noreturn]] static void refuse(const std::string& file, int64_t line, const std::string& what) {
    throw Error(ErrorCode::kInvalidFormat, file, line > 0 ? " line " + std::to_string(line) : "",
                ": ", what);
  }

  std::optional<corpus::InputProblem> problem_;  // the first
  corpus::DocumentReader reader_;
  std::unordered_map<std::string, int64_t> lines_;  // by id
};

struct Passage {
  std::string_view text;
  FrameTokens frames;
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\n\v\f\r";
  const size_t first = text.find_first_not_of(kBlanks);
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

std::vector<Passage> passages_of(const corpus::SourceDocument& document,
                                 const FrameEncoder& encoder, int64_t max_tokens) {
  std::vector<Passage> passages;
  const std::string_view whole = trimmed(document.text);
  FrameTokens frames = encoder.encode(document.title, whole);
  if (frames.num_text_tokens <= max_tokens) {
    passages.push_back({whole, std::move(frames)});
    return passages;
  }
  for (const corpus::Span& span :
       corpus::split_passages(whole, encoder.layout().tokenizer(), {.max_tokens = max_tokens})) {
    const std::string_view text =
        whole.substr(static_cast<size_t>(span.start), static_cast<size_t>(span.end - span.start));
    passages.push_back({text, encoder.encode(document.title, text)});
  }
  return passages;
}

void make_store(FileSystem& files, const FrameEncoder& encoder,
                const std::filesystem::path& documents, const std::filesystem::path& path,
                const storage::Digest& key, int64_t max_tokens, const OnProgress& on_progress) {
  BlockReader reader(files, documents);
  TokenStoreWriter writer(encoder.layout().tokenizer().vocab_size());
  const auto read = [&] { return std::async(std::launch::async, [&] { return reader.next(); }); };
  // Its destructor waits: the reader outlives what reads.
  std::future<Block> next = read();
  for (Block block = next.get(); !block.documents.empty(); block = next.get()) {
    next = read();
    std::vector<std::vector<Passage>> passages(block.documents.size());
    parallel_for(static_cast<int64_t>(passages.size()), [&](int64_t i) {
      const auto n = static_cast<size_t>(i);
      passages[n] = passages_of(block.documents[n], encoder, max_tokens);
    });
    for (size_t n = 0; n < passages.size(); ++n) {
      for (const Passage& passage : passages[n]) {
        writer.add(block.documents[n].name, block.documents[n].title, passage.text, passage.frames);
      }
    }
    if (on_progress) on_progress("tokenising " + documents.string(), block.share);
  }
  if (writer.size() == 0) {
    throw Error(ErrorCode::kInvalidFormat, documents.string(), ": no document at all");
  }
  writer.write(files, path, key);
}

/// Waits where another process, or another thread of this one, makes a token file.
std::unique_ptr<FileLock> wait_for_lock(const std::filesystem::path& path) {
  for (;;) {
    try {
      return FileLock::acquire(path);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kLocked) throw;
    }
    std::this_thread::sleep_for(kLockWait);
  }
}

}  // namespace

std::unique_ptr<TokenStore> open_token_cache(FileSystem& files, const FrameEncoder& encoder,
                                             const std::filesystem::path& documents,
                                             const TokenCacheOptions& options,
                                             const OnProgress& on_progress) {
  MSA_CHECK(options.max_document_tokens >= 8, "max_document_tokens must be at least 8, got ",
            options.max_document_tokens);
  const storage::Digest key = key_of(files, encoder, documents, options.max_document_tokens);
  const std::filesystem::path path = options.folder / (storage::to_hex(key) + ".tokens");
  const auto open = [&](const OnProgress& on_damage) -> std::unique_ptr<TokenStore> {
    if (!files.exists(path)) return nullptr;
    try {
      return TokenStore::open(files, path, key);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorruption) throw;
      if (on_damage) on_damage(std::string(error.what()) + "; it is made anew", 0);
      return nullptr;
    }
  };
  if (auto store = open({})) return store;
  files.create_directory(options.folder);
  const auto lock = wait_for_lock(options.folder / "lock");
  if (auto store = open(on_progress)) return store;  // made meanwhile
  make_store(files, encoder, documents, path, key, options.max_document_tokens, on_progress);
  return TokenStore::open(files, path, key);
}

}  // namespace msa::samples
