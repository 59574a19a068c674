#pragma once
// Where sentences end, as passages are cut and as evidence is quoted.

#include <cstdint>
#include <string_view>

namespace msa::corpus {

/// Whether a sentence ends with the byte before `place`, 0 to text.size(): . ! ? before a blank or
/// the end of the text, or a full-width mark before anything; closing quotes and brackets may
/// stand between. A full stop behind an initial or a title (J. Smith, Dr. Smith), or before a
/// lower-case ASCII letter, ends none. `text` is valid UTF-8. Takes constant time, blanks aside.
bool ends_sentence(std::string_view text, int64_t place);

}  // namespace msa::corpus
