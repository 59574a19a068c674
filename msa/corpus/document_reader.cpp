#include "msa/corpus/document_reader.h"

#include <algorithm>
#include <exception>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/base/threads.h"
#include "msa/text/unicode.h"

namespace msa::corpus {
namespace {

enum class Kind { kText, kMarkdown, kJsonLines, kUnknown };

std::string lower_extension(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return extension;
}

Kind kind_of(std::filesystem::path path) {
  if (path.extension() == ".zst") path = path.stem();
  const std::string extension = lower_extension(path);
  if (extension == ".jsonl") return Kind::kJsonLines;
  if (extension == ".md" || extension == ".markdown") return Kind::kMarkdown;
  if (extension == ".txt" || extension == ".text") return Kind::kText;
  return Kind::kUnknown;
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos;
}

void remove_byte_order_mark(std::string& text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") + 1 - first);
}

/// The first heading, if the text begins with one; a closing row of # is no part of it.
std::string title_of_markdown(std::string_view text) {
  if (!text.starts_with("# ")) return {};
  const std::string_view line = trimmed(text.substr(2, text.find('\n') - 2));
  const size_t last = line.find_last_not_of('#');
  if (last == std::string_view::npos) return {};
  const bool is_closed = line[last] == ' ' || line[last] == '\t';
  return std::string(is_closed ? trimmed(line.substr(0, last)) : line);
}

std::string string_or_number(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_number_integer() ? to_line(value) : std::string();
}

SourceDocument parse_line(const std::string& line, const std::string& what) {
  Json json = parse_json(line, what);
  if (!json.is_object()) throw Error(ErrorCode::kInvalidFormat, what, ": must be an object");
  SourceDocument document;
  document.text = json_string(json, "text", what);
  if (json_has(json, "title")) document.title = json_string(json, "title", what);
  if (json_has(json, "id")) {
    document.name = string_or_number(json.at("id"));
    if (document.name.empty()) {
      throw Error(ErrorCode::kInvalidFormat, what, ": \"id\" must be a string or a whole number");
    }
  }
  for (const char* key : {"id", "title", "text"}) json.erase(key);
  document.attributes = to_line(json);
  return document;
}

/// Finds the files below the given paths, in order.
class Walk {
 public:
  using Report = std::function<void(const std::filesystem::path&, const std::string&, ErrorCode)>;

  Walk(FileSystem& files, const Report& report) : files_(files), report_(report) {}

  void add(const std::filesystem::path& path) {
    std::error_code failed;
    const auto status = std::filesystem::status(path, failed);
    if (std::filesystem::is_directory(status)) {
      add_folder(path);
    } else if (!std::filesystem::is_regular_file(status)) {
      if (failed) {
        report_(path, "cannot be opened: " + failed.message(), ErrorCode::kIo);
      } else {
        report_(path, "skipped: not a plain file", ErrorCode::kInvalidFormat);
      }
    } else if (kind_of(path) == Kind::kUnknown) {
      auto& [first, count] = unknown_[lower_extension(path)];
      if (count++ == 0) first = path;
    } else {
      found_.push_back(path);
    }
  }

  /// Reports what was skipped and gives what was found.
  std::vector<std::filesystem::path> finish() {
    for (const auto& [extension, skipped] : unknown_) {
      const auto& [first, count] = skipped;
      std::string what = "skipped: not a .txt, .md or .jsonl file (or .zst of one)";
      if (count > 1) {
        what += ", and " + std::to_string(count - 1) + " more " +
                (extension.empty() ? "without extension" : "that end in " + extension);
      }
      report_(first, what, ErrorCode::kInvalidFormat);
    }
    return std::move(found_);
  }

 private:
  void add_folder(const std::filesystem::path& path) {
    std::error_code failed;
    const auto place = std::filesystem::canonical(path, failed);
    // Links could lead round in circles.
    if (!failed && !seen_.insert(place).second) {
      report_(path, "skipped: this folder was read before", ErrorCode::kInvalidFormat);
      return;
    }
    std::vector<std::string> names;
    try {
      names = files_.list(path);
    } catch (const Error& error) {
      report_(path, error.what(), error.code());
    }
    for (const std::string& name : names) {
      if (!name.starts_with('.')) add(path / name);
    }
  }

  FileSystem& files_;
  const Report& report_;
  std::vector<std::filesystem::path> found_;
  std::set<std::filesystem::path> seen_;
  std::map<std::string, std::pair<std::filesystem::path, int64_t>> unknown_;  // first, how many
};

constexpr size_t kBlockLines = 16384;  // of questions, in memory before all threads parse them
constexpr size_t kRunLines = 64;       // that one thread parses at a time

struct NumberedLine {
  std::string text;
  int64_t number = 0;
};

std::vector<std::string> strings_of(const Json& json, const char* key, const std::string& what) {
  std::vector<std::string> values;
  if (!json_has(json, key)) return values;
  const auto refuse = [&] {
    throw Error(ErrorCode::kInvalidFormat, what, ": \"", key, "\" must be a list of strings");
  };
  if (!json.at(key).is_array()) refuse();
  for (const Json& entry : json.at(key)) {
    values.push_back(string_or_number(entry));
    if (values.back().empty() && !entry.is_string()) refuse();
  }
  return values;
}

Question parse_question(const NumberedLine& line, const std::filesystem::path& path) {
  const std::string what = path.string() + " line " + std::to_string(line.number);
  const Json json = parse_json(line.text, what);
  Question question;
  question.line = line.number;
  question.text = json_string(json, "question", what);
  if (json_has(json, "id")) question.id = string_or_number(json.at("id"));
  question.answers = strings_of(json, "answers", what);
  question.documents = strings_of(json, "documents", what);
  return question;
}

}  // namespace

DocumentReader::DocumentReader(FileSystem& files, const std::vector<std::filesystem::path>& paths,
                               OnProblem on_problem)
    : files_(files), on_problem_(std::move(on_problem)) {
  for (const auto& path : paths) {
    if (!files.exists(path)) {
      throw Error(ErrorCode::kNotFound, path.string(), ": there is no such file or folder");
    }
  }
  const Walk::Report report = [this](const std::filesystem::path& path, const std::string& what,
                                     ErrorCode code) {
    if (on_problem_) on_problem_({path.string(), 0, what, code});
  };
  Walk walk(files, report);
  for (const auto& path : paths) walk.add(path);
  for (const auto& path : walk.finish()) {
    try {
      inputs_.push_back({path, files.open_to_read(path)->size()});
      total_bytes_ += inputs_.back().bytes;
    } catch (const Error& error) {
      report(path, error.what(), error.code());
    }
  }
}

DocumentReader::~DocumentReader() = default;

uint64_t DocumentReader::bytes_read() const {
  return finished_bytes_ + (lines_ ? lines_->bytes_read() : 0);
}

void DocumentReader::report(int64_t line, const std::string& what, ErrorCode code) const {
  if (on_problem_) on_problem_({inputs_[next_input_].path.string(), line, what, code});
}

bool DocumentReader::next_line(SourceDocument& document) {
  const std::string path = inputs_[next_input_].path.string();
  for (std::string line;;) {
    try {
      if (!lines_->next(line)) return false;
      const int64_t number = lines_->line_number();
      if (number == 1) remove_byte_order_mark(line);
      if (is_blank(line)) continue;
      if (const auto place = text::find_invalid_utf8(line)) {
        throw Error(ErrorCode::kInvalidFormat, "not UTF-8 at byte ", *place, " of the line");
      }
      document = parse_line(line, "the line");
      if (is_blank(document.text)) throw Error(ErrorCode::kInvalidFormat, "the text is empty");
      document.file = path;
      document.line = number;
      if (document.name.empty()) document.name = path + ":" + std::to_string(number);
      return true;
    } catch (const Error& error) {
      report(lines_->line_number(), error.what(), error.code());
    }
  }
}

bool DocumentReader::read_whole(SourceDocument& document) {
  const auto& path = inputs_[next_input_].path;
  document = {};
  document.text = LineReader(files_, path).rest();
  remove_byte_order_mark(document.text);
  if (const auto place = text::find_invalid_utf8(document.text)) {
    const auto line = std::count(document.text.begin(),
                                 document.text.begin() + static_cast<ptrdiff_t>(*place), '\n') +
                      1;
    report(line, "not UTF-8 at byte " + std::to_string(*place), ErrorCode::kInvalidFormat);
    return false;
  }
  if (is_blank(document.text)) {
    report(0, "the text is empty", ErrorCode::kInvalidFormat);
    return false;
  }
  if (kind_of(path) == Kind::kMarkdown) document.title = title_of_markdown(document.text);
  document.name = path.string();
  document.file = path.string();
  return true;
}

bool DocumentReader::next(SourceDocument& document) {
  for (; next_input_ < inputs_.size(); ++next_input_) {
    const Input& input = inputs_[next_input_];
    bool is_found = false;
    try {
      if (kind_of(input.path) == Kind::kJsonLines) {
        if (!lines_) lines_ = std::make_unique<LineReader>(files_, input.path);
        if (next_line(document)) return true;
      } else {
        is_found = read_whole(document);
      }
    } catch (const Error& error) {  // the file was there when the walk found it
      report(0, error.what(), error.code());
    }
    lines_.reset();
    finished_bytes_ += input.bytes;
    if (is_found) {
      ++next_input_;
      return true;
    }
  }
  return false;
}

std::vector<Question> read_questions(FileSystem& files, const std::filesystem::path& path) {
  LineReader lines(files, path);
  std::vector<Question> questions;
  bool is_over = false;
  while (!is_over) {
    std::vector<NumberedLine> block;
    for (std::string line; block.size() < kBlockLines;) {
      is_over = !lines.next(line);
      if (is_over) break;
      if (lines.line_number() == 1) remove_byte_order_mark(line);
      if (!is_blank(line)) block.push_back({std::move(line), lines.line_number()});
    }
    const size_t first = questions.size();
    questions.resize(first + block.size());
    const size_t num_runs = (block.size() + kRunLines - 1) / kRunLines;
    std::vector<std::exception_ptr> failures(num_runs);
    parallel_for(static_cast<int64_t>(num_runs), [&](int64_t r) {
      const size_t begin = static_cast<size_t>(r) * kRunLines;
      try {
        for (size_t i = begin; i < std::min(block.size(), begin + kRunLines); ++i) {
          questions[first + i] = parse_question(block[i], path);
        }
      } catch (const Error&) {
        failures[static_cast<size_t>(r)] = std::current_exception();
      }
    });
    // The first bad line is named, whoever came to it first.
    for (const std::exception_ptr& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
  }
  return questions;
}

}  // namespace msa::corpus
