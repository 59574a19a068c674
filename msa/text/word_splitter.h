#pragma once
// The pieces of a text within which byte pairs may merge: hand-written forms of two well-known
// patterns.

#include <cstddef>
#include <string_view>

namespace msa::text {

enum class SplitRule {
  kQwen2,  // (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|
           // ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  kGpt2,   // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
};

/// The pattern's text, as tokenizer.json holds it.
std::string_view pattern_of(SplitRule rule);

/// Where the piece that begins at `begin` < text.size() ends. `text` is valid UTF-8.
size_t end_of_piece(SplitRule rule, std::string_view text, size_t begin);

}  // namespace msa::text
