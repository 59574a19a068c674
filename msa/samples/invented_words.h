#pragma once
// Names that nobody has and values that nobody can know, put together at random.

#include <string>
#include <string_view>

#include "msa/samples/random.h"

namespace msa::samples {

/// A word of one to four syllables and three to sixteen ASCII letters, in lower case. Of
/// `syllables` syllables where that is not 0.
std::string invented_word(Random& random, int64_t syllables = 0);

/// One to three such words, in title case mostly, else in lower or upper case; a part of them with
/// a hyphen or a "van" or "de" inside. Of one word it has five letters or more.
std::string invented_name(Random& random);

/// A name that is easily taken for `name`: one of its words or some letters of one are others.
std::string alike_name(std::string_view name, Random& random);

enum class ValueKind {
  kNumber,  // of 2 to 7 digits
  kCode,    // letters and digits
  kWord,    // invented
  kPerson,  // an invented name
  kDate,
  kYear,
  kTime,
  kMeasure,  // a number and its unit
  kPlace,
  kColour,
  kAnimal,
  kFood,
  kInstrument,
  kTrade,
  kMaterial,
  kWeekday,
  kMonth,
  kMotto,  // three words
};
constexpr int kNumValueKinds = 18;

/// One line, no blank at its ends.
std::string invented_value(ValueKind kind, Random& random);

}  // namespace msa::samples
