#pragma once
// Documents and questions that a model learns from; documents are tokenised once, then mapped.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/samples/frame_tokens.h"
#include "msa/text/prompt_layout.h"

namespace msa::samples {

/// Documents with the questions that they answer, all optional but the documents' file.
struct SourceFiles {
  std::string name;
  std::filesystem::path documents;  // jsonl, also .zst
  std::vector<std::filesystem::path>
      questions;               // jsonl, also .zst; gold documents are of any source
  bool needs_all_gold = true;  // false: the gold documents of a question are alternatives
};

struct TrainCorpusOptions {
  std::vector<SourceFiles> sources;
  std::vector<std::filesystem::path> held_back;  // files of question ids, one a line
  std::filesystem::path cache;        // folder of token files; created if not there, its parent is
  int64_t max_document_tokens = 480;  // longer texts are cut into passages
  int64_t num_threads = 0;            // while it opens; 0: as parallel_for has now
};

/// A question with the places of what supports it.
struct TrainQuestion {
  std::string_view name;
  std::string_view text;
  std::vector<std::string_view> answers;  // may be empty
  std::span<const int32_t> documents;     // gold, in hop order; never empty
  bool needs_all_gold = true;
  int32_t source = 0;
};

/// A document here is a passage of at most max_document_tokens tokens of a document of a source; a
/// question's gold is the passage that holds its answer, else its document's first. Views live as
/// long as the corpus. Immutable; may be used from several threads.
///
/// Held back are the questions whose ids a held-back file names, all passages of their gold
/// documents, passages with the text of one of those, and every question that one of all these
/// supports: nothing of them may be learned from.
class TrainCorpus {
 public:
  using OnProgress = std::function<void(const std::string& what, double share)>;

  /// Reads the sources, or what was read of the same bytes with the same tokenizer before.
  /// Throws Error(kInvalidFormat) naming file and line: a document without text, an id twice in a
  /// source, an id of a held-back file that no source has, a question without text or without gold
  /// documents, gold that no source has, or that several others have and its own has not, text that
  /// is not UTF-8; Error(kInvalidArgument) if the tokenizer does not write numbers digit by digit,
  /// or for options out of range. Notes of damaged token files go to on_progress.
  /// `layout` must outlive the corpus.
  static std::unique_ptr<TrainCorpus> open(FileSystem& files, const text::PromptLayout& layout,
                                           const TrainCorpusOptions& options,
                                           const OnProgress& on_progress = {});
  ~TrainCorpus();

  int64_t num_sources() const;
  int64_t num_documents() const;
  int64_t num_questions() const;        // held back or not
  int64_t num_tokens() const;           // of all documents, framed, with titles and ids of 7 digits
  int64_t max_document_tokens() const;  // of a document's text alone
  const text::PromptLayout& layout() const;  // that it was opened with

  std::string_view document_name(int64_t document) const;  // passages of one document share it
  std::string_view title(int64_t document) const;          // may be empty
  std::string_view text(int64_t document) const;           // of the passage, without the title
  int32_t source_of(int64_t document) const;
  bool is_held_back(int64_t document) const;

  /// True if an earlier document has the same text.
  bool is_repeated(int64_t document) const;

  TrainQuestion question(int64_t question) const;
  bool is_question_held_back(int64_t question) const;

  std::span<const int32_t> documents_of_source(int64_t source) const;  // rising; all of them
  std::span<const int32_t> questions_of_source(int64_t source) const;  // rising; all of them
  std::span<const int32_t> questions_of(int64_t document) const;  // that it supports, in any place

  /// The same passage with its title, as corpus::passage_text has it, or alone.
  using Title = samples::Title;

  /// Adds the tokens of layout.document(id, text).
  void append_document(int64_t document, int64_t id, Title title,
                       std::vector<int32_t>& tokens) const;

  /// Adds the tokens of "[id]. text\n", as layout.appended_texts has them.
  void append_text(int64_t document, int64_t id, Title title, std::vector<int32_t>& tokens) const;

  /// Tokens of append_document for an id of `id_digits` digits.
  int64_t document_tokens(int64_t document, Title title, int64_t id_digits) const;

 private:
  TrainCorpus() = default;

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace msa::samples
