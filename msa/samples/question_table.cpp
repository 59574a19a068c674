#include "msa/samples/question_table.h"

#include <algorithm>
#include <unordered_map>

#include "msa/base/error.h"
#include "msa/corpus/line_reader.h"
#include "msa/text/unicode.h"

namespace msa::samples {
namespace {

constexpr std::string_view kBlanks = " \t\n\v\f\r";

bool is_blank(std::string_view text) {
  return text.find_first_not_of(kBlanks) == std::string_view::npos;
}

std::string place(const std::filesystem::path& path, int64_t line) {
  return path.string() + " line " + std::to_string(line);
}

void expect_question(const corpus::Question& question, const std::string& what) {
  const auto refuse = [&](const auto&... why) {
    throw Error(ErrorCode::kInvalidFormat, what, ": ", why...);
  };
  if (is_blank(question.text)) refuse("the question is empty");
  if (question.documents.empty()) refuse("the question has no gold documents");
  for (auto id = question.documents.begin(); id != question.documents.end(); ++id) {
    if (id->empty()) refuse("the id of a gold document is empty");
    if (std::find(question.documents.begin(), id, *id) != id) {
      refuse("the gold document \"", *id, "\" is named twice");
    }
  }
  for (const std::string& answer : question.answers) {
    if (is_blank(answer)) refuse("an answer is empty");
  }
}

}  // namespace

std::string_view QuestionTable::piece(uint64_t place) const {
  const uint64_t begin = place == 0 ? 0 : ends_[place - 1];
  return std::string_view(characters_).substr(begin, ends_[place] - begin);
}

void QuestionTable::add_piece(std::string_view text) {
  characters_ += text;
  ends_.push_back(characters_.size());
}

std::vector<std::string_view> QuestionTable::answers(int64_t question) const {
  const auto next = static_cast<size_t>(question) + 1;
  const uint64_t end = next < rows_.size() ? rows_[next].first_piece : ends_.size();
  std::vector<std::string_view> all;
  for (uint64_t p = row(question).first_piece + 2; p < end; ++p) all.push_back(piece(p));
  return all;
}

std::span<const int32_t> QuestionTable::gold(int64_t question) const {
  const auto next = static_cast<size_t>(question) + 1;
  const uint64_t first = row(question).first_gold;
  const uint64_t end = next < rows_.size() ? rows_[next].first_gold : gold_.size();
  return std::span(gold_).subspan(first, end - first);
}

/// Ids within the file, and against those of the source's earlier files.
void QuestionTable::expect_new_names(const std::filesystem::path& path,
                                     const std::vector<corpus::Question>& questions,
                                     int32_t source) const {
  std::unordered_map<std::string_view, int64_t> lines;  // 0: of an earlier file
  lines.reserve(questions.size());
  for (int64_t q = size() - 1; q >= 0 && row(q).source == source; --q) lines.emplace(name(q), 0);
  for (const corpus::Question& question : questions) {
    if (question.id.empty()) continue;
    const auto [earlier, is_new] = lines.try_emplace(question.id, question.line);
    if (is_new) continue;
    throw Error(ErrorCode::kInvalidFormat, place(path, question.line), ": the id \"", question.id,
                "\" is that of ",
                earlier->second > 0 ? "line " + std::to_string(earlier->second)
                                    : std::string("an earlier file of the source"),
                " too");
  }
}

void QuestionTable::add_file(FileSystem& files, const std::filesystem::path& path, int32_t source,
                             const FindGold& find_gold) {
  const std::vector<corpus::Question> questions = corpus::read_questions(files, path);
  if (questions.empty()) {
    throw Error(ErrorCode::kInvalidFormat, path.string(), ": no question at all");
  }
  expect_new_names(path, questions, source);
  for (const corpus::Question& question : questions) {
    const std::string what = place(path, question.line);
    expect_question(question, what);
    rows_.push_back({.first_piece = ends_.size(), .first_gold = gold_.size(), .source = source});
    add_piece(question.id.empty() ? path.string() + ":" + std::to_string(question.line)
                                  : question.id);
    add_piece(question.text);
    for (const std::string& answer : question.answers) add_piece(answer);
    for (const std::string& id : question.documents) {
      try {
        gold_.push_back(find_gold(question, id));
      } catch (const Error& error) {
        throw Error(error.code(), what, ": ", error.what());
      }
    }
  }
}

std::vector<HeldBackId> read_held_back(FileSystem& files, const std::filesystem::path& path) {
  corpus::LineReader lines(files, path);
  std::vector<HeldBackId> ids;
  for (std::string line; lines.next(line);) {
    if (const auto byte = text::find_invalid_utf8(line)) {
      throw Error(ErrorCode::kInvalidFormat, place(path, lines.line_number()),
                  ": not UTF-8 at byte ", *byte, " of the line");
    }
    if (is_blank(line)) continue;
    const size_t first = line.find_first_not_of(kBlanks);
    ids.push_back({.id = line.substr(first, line.find_last_not_of(kBlanks) + 1 - first),
                   .file = path.string(),
                   .line = lines.line_number()});
  }
  return ids;
}

}  // namespace msa::samples
