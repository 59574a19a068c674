#pragma once
// The text that the model reads for a passage.

#include <string>

#include "msa/memory/bank_facts.h"

namespace msa::engine {

/// "title\npassage", or the passage alone where its document has no title or the passage begins
/// with it.
inline std::string passage_text(const memory::Document& document, int64_t start, int64_t end) {
  const std::string text =
      document.text.substr(static_cast<size_t>(start), static_cast<size_t>(end - start));
  if (document.title.empty() || text.starts_with("# " + document.title)) return text;
  return document.title + "\n" + text;
}

}  // namespace msa::engine
