#pragma once
// UTF-8, character classes and canonical composition as the Hugging Face tokenizers library has
// them.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace msa::text {

enum class CharacterClass : uint8_t { kOther, kLetter, kNumber, kSpace };

CharacterClass class_of(char32_t code_point);

/// One decoded character. `length` is its bytes, 1 to 4.
struct Decoded {
  char32_t code_point = 0;
  int length = 0;
};

/// The character at `position` of valid UTF-8.
Decoded decode_utf8(std::string_view text, size_t position);

void append_utf8(char32_t code_point, std::string& out);

/// The first byte that is no part of valid UTF-8 (surrogates, overlong forms and values past
/// U+10FFFF are not).
std::optional<size_t> find_invalid_utf8(std::string_view text);

/// Text in normal form C. Where nothing changed, `text` is empty and `is_unchanged` true.
struct Normalized {
  bool is_unchanged = true;
  std::string text;
  /// For every byte of `text`: the bytes [first, end) of the first input character that its
  /// character stands for.
  struct Source {
    uint32_t first = 0;
    uint32_t end = 0;
  };
  std::vector<Source> source;
};

/// `text` must be valid UTF-8 of less than 4 GiB.
Normalized normalize_nfc(std::string_view text);

}  // namespace msa::text
