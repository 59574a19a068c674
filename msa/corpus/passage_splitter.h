#pragma once
// Cuts a text into passages that a model can encode, at the best border that lies within reach.

#include <cstdint>
#include <string_view>
#include <vector>

#include "msa/text/tokenizer.h"

namespace msa::corpus {

/// Bytes [start, end) of a text.
struct Span {
  int64_t start = 0;
  int64_t end = 0;

  bool operator==(const Span&) const = default;
};

struct SplitterOptions {
  int64_t max_tokens = 480;  // of a passage's text alone, at least 8
};

/// A text of at most max_tokens tokens is one passage. A longer one is cut, each passage as long as
/// it may be, at the last paragraph border in its latter two thirds, else line end, else sentence
/// end, else blank, else between characters. Passages do not overlap, are trimmed of ASCII blanks,
/// hold all other characters, and depend on nothing but the text. None has more than max_tokens
/// tokens, unless one character alone has. `text` is valid UTF-8.
/// Takes time linear in the text. Throws Error(kInvalidArgument) for a smaller max_tokens.
std::vector<Span> split_passages(std::string_view text, const text::Tokenizer& tokenizer,
                                 const SplitterOptions& options);

}  // namespace msa::corpus
