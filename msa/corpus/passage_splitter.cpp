#include "msa/corpus/passage_splitter.h"

#include <algorithm>

#include "msa/base/error.h"
#include "msa/corpus/sentence_end.h"

namespace msa::corpus {
namespace {

constexpr int64_t kWindowBytes = int64_t{1} << 16;

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_inside_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

/// How good a border before byte `place` is.
enum class Border { kNone, kBlank, kSentence, kLine, kParagraph };

Border border_before(std::string_view text, int64_t place) {
  const char last = text[place - 1];
  if (last == '\n') {
    int64_t i = place - 2;
    while (i >= 0 && is_blank(text[i]) && text[i] != '\n') --i;
    return i >= 0 && text[i] == '\n' ? Border::kParagraph : Border::kLine;
  }
  const bool is_behind_blank = is_blank(last);
  if (!is_inside_character(text[place]) && ends_sentence(text, is_behind_blank ? place - 1 : place))
    return Border::kSentence;
  return is_behind_blank ? Border::kBlank : Border::kNone;
}

/// Splits by the tokens of a window of the text, which moves on as passages use it up.
class Splitter {
 public:
  Splitter(std::string_view text, const text::Tokenizer& tokenizer, int64_t max_tokens)
      : text_(text),
        size_(static_cast<int64_t>(text.size())),
        tokenizer_(tokenizer),
        max_tokens_(max_tokens) {
    while (size_ > 0 && is_blank(text_[size_ - 1])) --size_;
    text_ = text_.substr(0, static_cast<size_t>(size_));
  }

  std::vector<Span> run() {
    std::vector<Span> spans;
    for (int64_t start = skip_blanks(0); start < size_; start = skip_blanks(spans.back().end)) {
      spans.push_back({start, end_of_passage(start)});
    }
    return spans;
  }

 private:
  int64_t skip_blanks(int64_t place) const {
    while (place < size_ && is_blank(text_[place])) ++place;
    return place;
  }

  /// The first place from `place` on that is no middle of a character.
  int64_t next_character(int64_t place) const {
    while (place < size_ && is_inside_character(text_[place])) ++place;
    return place;
  }

  std::string_view part(int64_t start, int64_t end) const {
    return text_.substr(static_cast<size_t>(start), static_cast<size_t>(end - start));
  }

  void read_window(int64_t start, int64_t num_bytes) {
    window_start_ = start;
    window_end_ = next_character(std::min(size_, start + num_bytes));
    offsets_ = tokenizer_.encode_with_offsets(part(window_start_, window_end_)).offsets;
    next_token_ = 0;
  }

  /// Sets next_token_ to the token that holds `start`. More than max_tokens tokens then follow in
  /// the window, or it ends with the text.
  void find_tokens(int64_t start) {
    if (window_end_ <= start) read_window(start, std::max(kWindowBytes, 8 * max_tokens_));
    for (;;) {
      const auto count = static_cast<int64_t>(offsets_.size());
      while (next_token_ < count && window_start_ + offsets_[next_token_].second <= start) {
        ++next_token_;
      }
      if (next_token_ + max_tokens_ < count || window_end_ == size_) return;
      const int64_t held = window_end_ - window_start_;
      read_window(start,
                  window_start_ == start ? 2 * held : std::max(kWindowBytes, 8 * max_tokens_));
    }
  }

  /// The end of the text, or where the token after the next `num_tokens` begins.
  int64_t place_after(int64_t num_tokens) const {
    const int64_t token = next_token_ + num_tokens;
    if (token >= static_cast<int64_t>(offsets_.size())) return size_;
    return window_start_ + offsets_[token].first;
  }

  int64_t end_of_passage(int64_t start) {
    find_tokens(start);
    int64_t allowed = max_tokens_;
    for (;;) {
      const int64_t limit = place_after(allowed);
      if (limit <= start || allowed < 1) return next_character(start + 1);
      int64_t end = limit == size_ ? size_ : best_border(start, limit);
      while (is_blank(text_[end - 1])) --end;
      if (window_start_ == start && window_end_ == end) return end;  // already counted
      // Tokens of a part need not be a part of the tokens: a cut may take a merge away.
      const auto count = static_cast<int64_t>(tokenizer_.encode(part(start, end)).size());
      if (count <= max_tokens_) return end;
      // Where the border lies far before the limit, fewer tokens than allowed are within reach.
      int64_t reached = allowed;
      while (reached > 1 && place_after(reached - 1) >= end) --reached;
      allowed = reached - (count - max_tokens_);
    }
  }

  /// The last border of the best kind, not before a third of the way to `limit`.
  int64_t best_border(int64_t start, int64_t limit) const {
    limit = skip_blanks(limit);  // they are trimmed, so they cost nothing
    const int64_t earliest = start + (limit - start) / 3;
    int64_t best = limit;
    auto best_kind = Border::kNone;
    for (int64_t place = limit; place > earliest && best_kind < Border::kParagraph; --place) {
      const Border kind = border_before(text_, place);
      if (kind > best_kind) {
        best_kind = kind;
        best = place;
      }
    }
    return best;
  }

  std::string_view text_;
  int64_t size_;
  const text::Tokenizer& tokenizer_;
  int64_t max_tokens_;
  int64_t window_start_ = 0;
  int64_t window_end_ = 0;
  std::vector<std::pair<int64_t, int64_t>> offsets_;  // of the window's tokens, from its start
  int64_t next_token_ = 0;
};

}  // namespace

std::vector<Span> split_passages(std::string_view text, const text::Tokenizer& tokenizer,
                                 const SplitterOptions& options) {
  MSA_CHECK(options.max_tokens >= 8, "max_tokens must be at least 8, got ", options.max_tokens);
  return Splitter(text, tokenizer, options.max_tokens).run();
}

}  // namespace msa::corpus
