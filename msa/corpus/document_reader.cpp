#include "msa/corpus/document_reader.h"

#include <algorithm>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/text/unicode.h"

namespace msa::corpus {
namespace {

enum class Kind { kText, kMarkdown, kJsonLines, kUnknown };

Kind kind_of(std::filesystem::path path) {
  if (path.extension() == ".zst") path = path.stem();
  const std::string extension = path.extension().string();
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

/// The first heading, if the text begins with one.
std::string title_of_markdown(std::string_view text) {
  if (!text.starts_with("# ")) return {};
  std::string_view line = text.substr(2, text.find('\n') - 2);
  const size_t last = line.find_last_not_of(" \t\r#");
  return last == std::string_view::npos ? std::string() : std::string(line.substr(0, last + 1));
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

}  // namespace

DocumentReader::DocumentReader(FileSystem& files, const std::vector<std::filesystem::path>& paths,
                               OnProblem on_problem)
    : files_(files), on_problem_(std::move(on_problem)) {
  for (const auto& path : paths) {
    if (!files.exists(path)) {
      throw Error(ErrorCode::kNotFound, path.string(), ": there is no such file or folder");
    }
  }
  const std::function<void(const std::filesystem::path&)> add = [&](const std::filesystem::path&
                                                                        path) {
    if (std::filesystem::is_directory(path)) {
      for (const std::string& name : files.list(path)) {
        if (!name.starts_with('.')) add(path / name);
      }
      return;
    }
    if (kind_of(path) == Kind::kUnknown) {
      if (on_problem_) {
        on_problem_({path.string(), 0, "skipped: not a .txt, .md or .jsonl file (or .zst of one)"});
      }
      return;
    }
    const uint64_t bytes = files.open_to_read(path)->size();
    inputs_.push_back({path, bytes});
    total_bytes_ += bytes;
  };
  for (const auto& path : paths) add(path);
}

DocumentReader::~DocumentReader() = default;

uint64_t DocumentReader::bytes_read() const {
  return finished_bytes_ + (lines_ ? lines_->bytes_read() : 0);
}

void DocumentReader::report(int64_t line, const std::string& what) const {
  if (on_problem_) on_problem_({inputs_[next_input_].path.string(), line, what});
}

bool DocumentReader::next_line(SourceDocument& document) {
  const std::string path = inputs_[next_input_].path.string();
  for (std::string line; lines_->next(line);) {
    const int64_t number = lines_->line_number();
    if (number == 1) remove_byte_order_mark(line);
    if (is_blank(line)) continue;
    try {
      if (const auto place = text::find_invalid_utf8(line)) {
        throw Error(ErrorCode::kInvalidFormat, "not UTF-8 at byte ", *place, " of the line");
      }
      document = parse_line(line, "line " + std::to_string(number));
      if (is_blank(document.text)) throw Error(ErrorCode::kInvalidFormat, "the text is empty");
    } catch (const Error& error) {
      report(number, error.what());
      continue;
    }
    document.file = path;
    document.line = number;
    if (document.name.empty()) document.name = path + ":" + std::to_string(number);
    return true;
  }
  return false;
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
    report(line, "not UTF-8 at byte " + std::to_string(*place));
    return false;
  }
  if (is_blank(document.text)) {
    report(0, "the text is empty");
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
    try {
      if (kind_of(input.path) == Kind::kJsonLines) {
        if (!lines_) lines_ = std::make_unique<LineReader>(files_, input.path);
        if (next_line(document)) return true;
        lines_.reset();
      } else if (read_whole(document)) {
        finished_bytes_ += input.bytes;
        ++next_input_;
        return true;
      }
    } catch (const Error& error) {
      report(lines_ ? lines_->line_number() + 1 : 0, error.what());
      lines_.reset();
    }
    finished_bytes_ += input.bytes;
  }
  return false;
}

std::vector<Question> read_questions(FileSystem& files, const std::filesystem::path& path) {
  LineReader lines(files, path);
  std::vector<Question> questions;
  for (std::string line; lines.next(line);) {
    if (is_blank(line)) continue;
    const std::string what = path.string() + " line " + std::to_string(lines.line_number());
    const Json json = parse_json(line, what);
    Question question;
    question.line = lines.line_number();
    question.text = json_string(json, "question", what);
    if (json_has(json, "id")) question.id = string_or_number(json.at("id"));
    for (const auto& [key, list] :
         {std::pair{"answers", &question.answers}, std::pair{"documents", &question.documents}}) {
      if (!json_has(json, key)) continue;
      if (!json.at(key).is_array()) {
        throw Error(ErrorCode::kInvalidFormat, what, ": \"", key, "\" must be a list of strings");
      }
      for (const Json& entry : json.at(key)) {
        const std::string value = string_or_number(entry);
        if (value.empty() && !entry.is_string()) {
          throw Error(ErrorCode::kInvalidFormat, what, ": \"", key, "\" must be a list of strings");
        }
        list->push_back(value);
      }
    }
    questions.push_back(std::move(question));
  }
  return questions;
}

}  // namespace msa::corpus
