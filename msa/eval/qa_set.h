#pragma once
// The documents and questions of one evaluation, chosen and gathered.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/corpus/document_reader.h"
#include "msa/eval/qa.h"

namespace msa::eval {

struct QaSet {
  std::vector<corpus::Question> questions;
  std::vector<corpus::SourceDocument> documents;  // those of the questions, then the extra ones
  std::map<std::string, int64_t>
      text_of;  // document name -> number of its text: equal texts, equal numbers

  /// True if the named document has the text of one that supports the question.
  bool is_gold(const corpus::Question& question, const std::string& name) const;
};

/// Throws Error(kNotFound), Error(kInvalidFormat) naming file and line (also for a name that two of
/// the chosen documents have), Error(kInvalidArgument) for num_extra below 0 or without extra, or
/// Error(kInterrupted).
QaSet load_qa_set(FileSystem& files, const QaOptions& options);

/// One document a line, in the schema that ingest reads.
void write_documents(FileSystem& files, const std::filesystem::path& path,
                     const std::vector<corpus::SourceDocument>& documents);

}  // namespace msa::eval
