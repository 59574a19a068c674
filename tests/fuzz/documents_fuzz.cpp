// Files of documents and questions: txt, md and jsonl, plain and compressed. The first byte of an
// input says which kind it is.

#include <zstd.h>

#include <array>
#include <fstream>

#include "msa/base/json.h"
#include "msa/corpus/document_reader.h"
#include "msa/text/unicode.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/mutation.h"
#include "tests/fuzz/scratch_folder.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

constexpr std::array kNames{"a.jsonl", "a.txt", "a.md", "a.jsonl.zst", "a.txt.zst", "a.md.zst"};

/// The reader asks the real disk what a path is, and takes the bytes from memory.
const std::filesystem::path& folder() {
  static const ScratchFolder scratch = [] {
    ScratchFolder folder("documents");
    for (const char* name : kNames) std::ofstream(folder.path() / name) << "x";
    return folder;
  }();
  return scratch.path();
}

std::string compressed(const std::string& bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1));
  return out;
}

void check_documents(FileSystem& files, const std::filesystem::path& path) {
  const auto on_problem = [&](const corpus::InputProblem& problem) {
    expect(problem.file == path.string(), "a problem of another file", problem.file);
    expect(!problem.what.empty(), "a problem that says nothing");
  };
  corpus::DocumentReader reader(files, {path}, on_problem);
  int64_t last_line = -1;
  for (corpus::SourceDocument document; reader.next(document);) {
    expect(document.line > last_line, "lines out of order");
    last_line = document.line;
    expect(!document.name.empty() && !document.text.empty(), "a document without name or text");
    for (const std::string* text : {&document.text, &document.title, &document.attributes}) {
      expect(!text::find_invalid_utf8(*text), "bytes that are not UTF-8");
    }
    expect(parse_json(document.attributes, "attributes").is_object(), "attributes are no object");
  }
  expect(reader.bytes_read() == reader.total_bytes(), "bytes that were not read");
}

/// Lines of a plain file, compared with what a search for line ends gives.
void check_lines(FileSystem& files, const std::filesystem::path& path, const std::string& bytes) {
  constexpr uint64_t kLongest = 20;
  corpus::LineReader reader(files, path, {.max_line_bytes = kLongest});
  for (size_t first = 0; first < bytes.size();) {
    const size_t end = std::min(bytes.find('\n', first), bytes.size());
    std::string wanted = bytes.substr(first, end - first);
    if (!wanted.empty() && wanted.back() == '\r') wanted.pop_back();
    const bool is_last = end == bytes.size();
    first = end + 1;
    std::string line;
    try {
      if (!reader.next(line)) fail("a line too few");
      expect(line == wanted, "another line", line);
      expect(line.size() <= kLongest, "a line that is too long", line);
    } catch (const Error& error) {
      expect(error.code() == ErrorCode::kLimit && wanted.size() > kLongest, "a refused line",
             error.what());
    }
    if (is_last) break;
  }
  std::string line;
  expect(!reader.next(line), "a line too many", line);
}

/// That a small file never gives much text, by bounds that a small input passes.
void check_growth(FileSystem& files, const std::filesystem::path& path, size_t stored_bytes) {
  const corpus::LineReaderOptions options{.max_growth = 10, .free_growth_bytes = 4096};
  const size_t most =
      std::max<size_t>(options.free_growth_bytes, (stored_bytes + 1) * options.max_growth);
  size_t given = 0;
  accepts(path.filename().string(), [&] {
    corpus::LineReader reader(files, path, options);
    for (std::string line; reader.next(line);) given += line.size();
  });
  expect(given <= most, "more text than a file of its size may hold");
}

/// Some part of the text again and again: what compresses well.
std::string with_part_repeated(std::string text, size_t max_size, Random& random) {
  if (text.empty()) return text;
  const size_t first = random() % text.size();
  const std::string part = text.substr(first, 1 + random() % 16);
  std::string all;
  for (auto count = random() % 4096; count > 0; --count) all += part;
  text.insert(first, all);
  if (text.size() > max_size) text.resize(max_size);
  return text;
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa;
  using namespace msa::fuzz;
  if (size == 0) return 0;
  const size_t kind = data[0] % (2 * kNames.size());
  std::string bytes = text_of(data + 1, size - 1);
  const std::filesystem::path path = folder() / kNames[kind % kNames.size()];
  const bool is_compressed = path.extension() == ".zst";
  MemoryFiles files;
  if (kind >= kNames.size() && is_compressed) bytes = compressed(bytes);
  files.put(path, bytes);
  check_documents(files, path);
  accepts(path.filename().string(), [&] { corpus::read_questions(files, path); });
  if (is_compressed) {
    check_growth(files, path, bytes.size());
  } else {
    check_lines(files, path, bytes);
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa::fuzz;
  Random random(seed);
  if (size == 0 || chance(random, 16)) return LLVMFuzzerMutate(data, size, max_size);
  const std::string kind = text_of(data, 1);
  const std::string text = text_of(data + 1, size - 1);
  if (chance(random, 32)) {
    return give(kind + with_part_repeated(text, max_size - 1, random), data, max_size);
  }
  const bool is_raw = data[0] % (2 * kNames.size()) >= 3 && data[0] % (2 * kNames.size()) < 6;
  return give(kind + (is_raw ? mutated(text, max_size - 1)
                             : with_text_mutated(text, "{}[],:\n\"", max_size - 1, random)),
              data, max_size);
}
