#pragma once
// Tables behind unicode.h, sorted by their first number.

#include <cstddef>
#include <cstdint>

namespace msa::text {

struct CodePointRange {
  uint32_t first;
  uint32_t last;
};
extern const CodePointRange kLetterRanges[];
extern const size_t kNumLetterRanges;
extern const CodePointRange kNumberRanges[];
extern const size_t kNumNumberRanges;
extern const CodePointRange kSpaceRanges[];
extern const size_t kNumSpaceRanges;

/// Canonical combining classes other than 0.
struct CombiningClass {
  uint32_t code_point;
  uint8_t value;
};
extern const CombiningClass kCombiningClasses[];
extern const size_t kNumCombiningClasses;

/// Full canonical decompositions, without those of Hangul syllables.
struct Decomposition {
  uint32_t code_point;
  uint32_t length;
  uint32_t parts[4];
};
extern const Decomposition kDecompositions[];
extern const size_t kNumDecompositions;

/// Primary composites, without Hangul syllables.
struct Composition {
  uint32_t first;
  uint32_t second;
  uint32_t composite;
};
extern const Composition kCompositions[];
extern const size_t kNumCompositions;

}  // namespace msa::text
