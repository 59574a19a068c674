#pragma once
// What the TOML parser must not be given: toml++ 3.3 runs into undefined behaviour at some letters
// where a key, a value or a blank may stand, also behind a backslash in a string of several lines.
// TOML has none there.

#include <cstddef>
#include <optional>
#include <string_view>

namespace msa::train {

/// Place of the first byte above 127 that is outside of strings and comments, or behind a backslash
/// and blanks or line ends in a string of several lines; a byte order mark in front is left aside.
/// Behind a quote that stands where no string begins, as in 9"x or a."x", it is the next such byte
/// of all. None: there is no such byte. Of text that is no TOML it says what it would say
/// of TOML with the same beginning, up to what the parser refuses.
std::optional<size_t> find_letter_outside_strings(std::string_view text);

}  // namespace msa::train
