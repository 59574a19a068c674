#pragma once
// The text that the model reads for a passage.

#include <string>
#include <string_view>

namespace msa::corpus {

constexpr size_t kMaxTitleBytes = 256;  // of a title that the model reads with every passage

/// "title\npassage", or the passage alone where its document has no title or the passage begins
/// with it. A longer title than kMaxTitleBytes is cut between characters. Both are valid UTF-8.
inline std::string passage_text(std::string_view title, std::string_view passage) {
  if (title.empty() || passage.starts_with("# " + std::string(title))) return std::string(passage);
  if (title.size() > kMaxTitleBytes) {
    size_t end = kMaxTitleBytes;
    while ((static_cast<unsigned char>(title[end]) & 0xC0) == 0x80) --end;
    title = title.substr(0, end);
  }
  std::string text(title);
  text += '\n';
  text += passage;
  return text;
}

}  // namespace msa::corpus
