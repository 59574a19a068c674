#pragma once
// Questions of all sources side by side, with the passages that support them.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/corpus/document_reader.h"

namespace msa::samples {

/// Of a gold document, by its id: the place of the passage that supports the question. Throws
/// Error(kInvalidFormat) if there is none.
using FindGold = std::function<int32_t(const corpus::Question& question, const std::string& id)>;

/// Views live as long as the table and until the next add_file().
class QuestionTable {
 public:
  /// Adds the questions of a jsonl file (also .zst) to those of `source`, strictly: each has a
  /// text, one gold document or more, none twice, and an id that no other of its source has;
  /// without one it is named FILE:LINE. Sources come one after the other.
  /// Throws Error(kInvalidFormat) naming file and line, else as corpus::read_questions.
  void add_file(FileSystem& files, const std::filesystem::path& path, int32_t source,
                const FindGold& find_gold);

  int64_t size() const { return static_cast<int64_t>(rows_.size()); }

  std::string_view name(int64_t question) const { return piece(row(question).first_piece); }
  std::string_view text(int64_t question) const { return piece(row(question).first_piece + 1); }
  std::vector<std::string_view> answers(int64_t question) const;
  std::span<const int32_t> gold(int64_t question) const;
  int32_t source(int64_t question) const { return row(question).source; }

 private:
  struct Row {
    uint64_t first_piece = 0;  // name, text, answers
    uint64_t first_gold = 0;
    int32_t source = 0;
  };

  const Row& row(int64_t question) const { return rows_[static_cast<size_t>(question)]; }
  std::string_view piece(uint64_t place) const;
  void add_piece(std::string_view text);
  void expect_new_names(const std::filesystem::path& path,
                        const std::vector<corpus::Question>& questions, int32_t source) const;

  std::vector<Row> rows_;
  std::string characters_;
  std::vector<uint64_t> ends_;  // of each piece in characters_
  std::vector<int32_t> gold_;
};

/// An id of a file of question ids, one a line.
struct HeldBackId {
  std::string id;
  std::string file;
  int64_t line = 0;
};

/// Blank lines are skipped, blanks around an id too. Throws as LineReader.
std::vector<HeldBackId> read_held_back(FileSystem& files, const std::filesystem::path& path);

}  // namespace msa::samples
