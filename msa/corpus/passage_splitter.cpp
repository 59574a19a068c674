#include "msa/corpus/passage_splitter.h"

#include <algorithm>

#include "msa/base/error.h"

namespace msa::corpus {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}
bool is_inside_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

/// How good a border before byte `place` is: 4 paragraph, 3 line, 2 sentence, 1 blank, 0 none.
int border_before(std::string_view text, int64_t place) {
  if (place <= 0 || place >= static_cast<int64_t>(text.size())) return 4;
  const char last = text[place - 1];
  if (last == '\n') {
    int64_t i = place - 2;
    while (i >= 0 && is_blank(text[i]) && text[i] != '\n') --i;
    return i >= 0 && text[i] == '\n' ? 4 : 3;
  }
  const std::string_view before = text.substr(0, static_cast<size_t>(place));
  for (const std::string_view mark : {"\xE3\x80\x82", "\xEF\xBC\x81", "\xEF\xBC\x9F"}) {
    if (before.ends_with(mark)) return 2;  // full-width . ! ?
  }
  if (!is_blank(last)) return 0;
  int64_t i = place - 2;
  while (i >= 0 && (text[i] == '"' || text[i] == '\'' || text[i] == ')' || text[i] == ']')) --i;
  return i >= 0 && (text[i] == '.' || text[i] == '!' || text[i] == '?') ? 2 : 1;
}

void add_trimmed(std::string_view text, int64_t start, int64_t end, std::vector<Span>& spans) {
  while (start < end && is_blank(text[start])) ++start;
  while (end > start && is_blank(text[end - 1])) --end;
  if (start < end) spans.push_back({start, end});
}

/// The best border in (start, limit]: the last one of the best kind, but not before a third of the
/// way.
int64_t best_border(std::string_view text, int64_t start, int64_t limit) {
  const int64_t earliest = start + (limit - start) / 3;
  int64_t best = -1;
  int best_kind = 0;
  for (int64_t place = limit; place > earliest; --place) {
    const int kind = border_before(text, place);
    if (kind > best_kind) {
      best_kind = kind;
      best = place;
      if (kind == 4) break;
    }
  }
  if (best >= 0) return best;
  int64_t place = limit;
  while (place > start + 1 && is_inside_character(text[place])) --place;
  return place;
}

}  // namespace

std::vector<Span> split_passages(std::string_view text, const text::Tokenizer& tokenizer,
                                 const SplitterOptions& options) {
  MSA_CHECK(options.max_tokens >= 8, "max_tokens must be at least 8, got ", options.max_tokens);
  std::vector<Span> spans;
  // No token is longer than this window allows a passage to be: a passage is looked for within it.
  const int64_t window_bytes = 16 * options.max_tokens;
  const auto size = static_cast<int64_t>(text.size());
  int64_t start = 0;
  while (start < size) {
    while (start < size && is_blank(text[start])) ++start;
    int64_t window_end = std::min(size, start + window_bytes);
    while (window_end < size && is_inside_character(text[window_end])) ++window_end;
    const auto encoding = tokenizer.encode_with_offsets(
        text.substr(static_cast<size_t>(start), static_cast<size_t>(window_end - start)));
    int64_t end = window_end;
    if (static_cast<int64_t>(encoding.ids.size()) > options.max_tokens) {
      // Where the first token too many begins; a little less, because a cut may add a token at its
      // border.
      const int64_t limit = start + encoding.offsets[options.max_tokens - 2].first;
      end = best_border(text, start, std::max(limit, start + 1));
    } else if (window_end < size) {
      end = best_border(text, start, window_end);
    }
    if (end <= start) {
      end = start + 1;
      while (end < size && is_inside_character(text[end])) ++end;
    }
    add_trimmed(text, start, end, spans);
    start = end;
  }
  return spans;
}

}  // namespace msa::corpus
