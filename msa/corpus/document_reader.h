#pragma once
// Documents from files and folders: txt, md and jsonl, each also compressed (.zst).

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/file_system.h"
#include "msa/corpus/line_reader.h"

namespace msa::corpus {

struct SourceDocument {
  std::string name;               // the id in the jsonl, or the path
  std::string title;              // may be empty
  std::string text;               // valid UTF-8, not blank
  std::string attributes = "{}";  // other keys of the jsonl line, as a JSON object
  std::string file;
  int64_t line = 0;  // 0 where the file is one document
};

/// An input that is no document; reading goes on.
struct InputProblem {
  std::string file;
  int64_t line = 0;
  std::string what;
  ErrorCode code = ErrorCode::kInvalidFormat;
};

/// Pulls documents one by one; holds one line or one text file in memory, either of at most 64 MiB.
/// A jsonl line is {"text"} and, where known, "id" (string or whole number; else it is named
/// FILE:LINE), "title", and anything more, which becomes attributes. Bytes of texts stay as they
/// are, but for a byte order mark, which is removed. A markdown file that begins with a "# "
/// heading has that title.
/// Not for use by several threads at once.
class DocumentReader {
 public:
  using OnProblem = std::function<void(const InputProblem&)>;

  /// Folders are walked in order of names, each once; hidden entries are left out, files of other
  /// kinds are reported once for each extension, what cannot be opened is reported.
  /// `files` must outlive the reader; `on_problem` may be empty.
  /// Throws Error(kNotFound) naming the first path that does not exist, before anything is read.
  DocumentReader(FileSystem& files, const std::vector<std::filesystem::path>& paths,
                 OnProblem on_problem);
  ~DocumentReader();

  /// The next document; false at the end. What is none goes to on_problem, and only an exception
  /// of that leaves this call.
  bool next(SourceDocument& document);

  uint64_t total_bytes() const { return total_bytes_; }  // of all files, as stored
  uint64_t bytes_read() const;                           // of the same, so far

 private:
  void report(int64_t line, const std::string& what, ErrorCode code) const;
  bool next_line(SourceDocument& document);
  bool read_whole(SourceDocument& document);

  FileSystem& files_;
  OnProblem on_problem_;
  struct Input {
    std::filesystem::path path;
    uint64_t bytes = 0;
  };
  std::vector<Input> inputs_;
  size_t next_input_ = 0;
  uint64_t total_bytes_ = 0;
  uint64_t finished_bytes_ = 0;
  std::unique_ptr<LineReader> lines_;  // of the jsonl file being read
};

/// A question with what is known about its answer.
struct Question {
  std::string id;
  std::string text;
  std::vector<std::string> answers;
  std::vector<std::string> documents;  // names of those that support it
  int64_t line = 0;
};

/// Reads a jsonl file of {"question"} and, where known, "id", "answers", "documents".
/// Parses on all threads. Throws Error(kInvalidFormat) with file and line, the first that is bad,
/// else as LineReader.
std::vector<Question> read_questions(FileSystem& files, const std::filesystem::path& path);

}  // namespace msa::corpus
