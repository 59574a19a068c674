#pragma once
// The text that the model reads for a passage.

#include <string>
#include <string_view>

#include "msa/memory/bank_facts.h"

namespace msa::engine {

constexpr size_t kMaxTitleBytes = 256;  // of a title that the model reads with every passage

/// "title\npassage", or the passage alone where its document has no title or the passage begins
/// with it. A longer title than kMaxTitleBytes is cut between characters.
inline std::string passage_text(const memory::Document& document, int64_t start, int64_t end) {
  std::string text =
      document.text.substr(static_cast<size_t>(start), static_cast<size_t>(end - start));
  if (document.title.empty() || text.starts_with("# " + document.title)) return text;
  std::string_view title = document.title;
  if (title.size() > kMaxTitleBytes) {
    size_t end = kMaxTitleBytes;
    while ((static_cast<unsigned char>(title[end]) & 0xC0) == 0x80) --end;
    title = title.substr(0, end);
  }
  return std::string(title) + "\n" + text;
}

}  // namespace msa::engine
