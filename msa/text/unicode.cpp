#include "msa/text/unicode.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "msa/text/unicode_tables.h"

namespace msa::text {
namespace {

constexpr char32_t kEnd = 0x110000;
constexpr char32_t kHangulFirst = 0xAC00, kLeadFirst = 0x1100, kVowelFirst = 0x1161,
                   kTailFirst = 0x11A7;
constexpr char32_t kNumLeads = 19, kNumVowels = 21, kNumTails = 28,
                   kNumHangul = kNumLeads * kNumVowels * kNumTails;

/// The composite of two characters, or 0.
char32_t compose(char32_t first, char32_t second) {
  if (first >= kLeadFirst && first < kLeadFirst + kNumLeads && second >= kVowelFirst &&
      second < kVowelFirst + kNumVowels) {
    return kHangulFirst + ((first - kLeadFirst) * kNumVowels + (second - kVowelFirst)) * kNumTails;
  }
  if (first >= kHangulFirst && first < kHangulFirst + kNumHangul &&
      (first - kHangulFirst) % kNumTails == 0 && second > kTailFirst &&
      second < kTailFirst + kNumTails) {
    return first + (second - kTailFirst);
  }
  const std::span all(kCompositions, kNumCompositions);
  const auto found =
      std::lower_bound(all.begin(), all.end(), std::pair{first, second},
                       [](const Composition& entry, const std::pair<char32_t, char32_t>& value) {
                         return std::pair<char32_t, char32_t>{entry.first, entry.second} < value;
                       });
  const bool is_found = found != all.end() && found->first == first && found->second == second;
  return is_found ? found->composite : 0;
}

/// What is looked up for every character, as one byte each.
struct Tables {
  std::vector<uint8_t> character_class;  // [kEnd]
  std::vector<uint8_t> combining;        // [kEnd]
  std::vector<bool>
      may_change;  // [kEnd] NFC may change the character or join it with the one before

  Tables() : character_class(kEnd), combining(kEnd), may_change(kEnd) {
    const auto fill = [&](const CodePointRange* ranges, size_t count, CharacterClass value) {
      for (const auto& range : std::span(ranges, count)) {
        std::fill(character_class.begin() + range.first, character_class.begin() + range.last + 1,
                  static_cast<uint8_t>(value));
      }
    };
    fill(kLetterRanges, kNumLetterRanges, CharacterClass::kLetter);
    fill(kNumberRanges, kNumNumberRanges, CharacterClass::kNumber);
    fill(kSpaceRanges, kNumSpaceRanges, CharacterClass::kSpace);
    for (const auto& entry : std::span(kCombiningClasses, kNumCombiningClasses)) {
      combining[entry.code_point] = entry.value;
      may_change[entry.code_point] = true;
    }
    for (const auto& entry : std::span(kDecompositions, kNumDecompositions)) {
      // A character that its own parts compose to again changes only with what follows it.
      char32_t composed = entry.parts[0];
      for (uint32_t i = 1; i < entry.length; ++i) composed = compose(composed, entry.parts[i]);
      if (entry.length < 2 || composed != entry.code_point) may_change[entry.code_point] = true;
    }
    for (const auto& entry : std::span(kCompositions, kNumCompositions)) {
      may_change[entry.second] = true;
    }
    std::fill(may_change.begin() + kVowelFirst, may_change.begin() + kVowelFirst + kNumVowels,
              true);
    std::fill(may_change.begin() + kTailFirst, may_change.begin() + kTailFirst + kNumTails, true);
  }
};

const Tables& tables() {
  static const Tables instance;
  return instance;
}

/// A character on its way through normalisation. `consumes`: how many characters of the input it
/// stands for; the second part of a decomposed one stands for none, a composed one for all that
/// went into it.
struct Part {
  char32_t code_point;
  uint8_t combining;
  uint32_t consumes;
};

void decompose(char32_t c, std::vector<Part>& out) {
  uint32_t consumes = 1;
  const auto add = [&](char32_t part) {
    out.push_back({part, tables().combining[part], consumes});
    consumes = 0;
  };
  if (c >= kHangulFirst && c < kHangulFirst + kNumHangul) {
    const char32_t index = c - kHangulFirst;
    add(kLeadFirst + index / (kNumVowels * kNumTails));
    add(kVowelFirst + index % (kNumVowels * kNumTails) / kNumTails);
    if (index % kNumTails != 0) add(kTailFirst + index % kNumTails);
    return;
  }
  const std::span all(kDecompositions, kNumDecompositions);
  const auto found = std::lower_bound(
      all.begin(), all.end(), c,
      [](const Decomposition& entry, char32_t value) { return entry.code_point < value; });
  if (found == all.end() || found->code_point != c) {
    add(c);
  } else {
    for (uint32_t i = 0; i < found->length; ++i) add(found->parts[i]);
  }
}

/// Canonical composition of decomposed, ordered characters (Unicode Standard, section 3.11, D117).
void compose_all(std::vector<Part>& characters) {
  std::vector<Part> out;
  size_t starter = 0;
  bool has_starter = false;
  for (const Part& next : characters) {
    const bool is_adjacent = has_starter && out.size() == starter + 1;
    // A mark is blocked by an earlier one of the same or a higher class.
    const bool is_blocked = !is_adjacent && (next.combining == 0 || out.empty() ||
                                             out.back().combining >= next.combining);
    if (has_starter && !is_blocked) {
      const char32_t joined = compose(out[starter].code_point, next.code_point);
      if (joined != 0) {
        out[starter].code_point = joined;
        out[starter].consumes += next.consumes;
        continue;
      }
    }
    if (next.combining == 0) {
      starter = out.size();
      has_starter = true;
    }
    out.push_back(next);
  }
  characters = std::move(out);
}

/// Up to the first byte past `begin` that is not ASCII; eight bytes at a time.
size_t skip_ascii(std::string_view text, size_t begin) {
  size_t i = begin;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & 0x8080808080808080U) != 0) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

/// The first character from `begin` on that normalisation may change, or the end.
size_t next_change(std::string_view text, size_t begin) {
  const Tables& table = tables();
  for (size_t i = skip_ascii(text, begin); i < text.size(); i = skip_ascii(text, i)) {
    const Decoded c = decode_utf8(text, i);
    if (table.may_change[c.code_point]) return i;
    i += static_cast<size_t>(c.length);
  }
  return text.size();
}

/// Adds bytes [begin, end), which stay as they are.
void copy_unchanged(std::string_view text, size_t begin, size_t end, Normalized& result) {
  result.text.append(text, begin, end - begin);
  for (size_t i = begin; i < end;) {
    const auto last = i + static_cast<size_t>(decode_utf8(text, i).length);
    result.source.resize(result.source.size() + (last - i),
                         {static_cast<uint32_t>(i), static_cast<uint32_t>(last)});
    i = last;
  }
}

/// Adds the normal form of bytes [begin, end): a run that nothing outside it can join.
void normalize_run(std::string_view text, size_t begin, size_t end, Normalized& result) {
  std::vector<Part> characters;
  std::vector<Normalized::Source> input;  // the characters of the run, in order
  for (size_t i = begin; i < end;) {
    const Decoded c = decode_utf8(text, i);
    const size_t last = i + static_cast<size_t>(c.length);
    decompose(c.code_point, characters);
    input.push_back({static_cast<uint32_t>(i), static_cast<uint32_t>(last)});
    i = last;
  }
  // Canonical order: runs of marks by rising class, equal classes as they came.
  for (auto first = characters.begin(); first != characters.end();) {
    auto last = first + 1;
    if (first->combining != 0) {
      while (last != characters.end() && last->combining != 0) ++last;
      std::stable_sort(first, last,
                       [](const Part& a, const Part& b) { return a.combining < b.combining; });
    }
    first = last;
  }
  compose_all(characters);
  // As in the library, what comes out takes the input's characters in order and points to the first
  // that it takes.
  size_t taken = 0;
  for (const Part& character : characters) {
    append_utf8(character.code_point, result.text);
    const size_t place = character.consumes > 0 ? taken : std::max<size_t>(taken, 1) - 1;
    result.source.resize(result.text.size(), input[place]);
    taken += character.consumes;
  }
}

}  // namespace

CharacterClass class_of(char32_t code_point) {
  return static_cast<CharacterClass>(tables().character_class[code_point]);
}

Decoded decode_utf8(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[position + i]));
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

void append_utf8(char32_t c, std::string& out) {
  const auto add = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0 | c >> 6);
    add(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    add(0xE0 | c >> 12);
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  } else {
    add(0xF0 | c >> 18);
    add(0x80 | (c >> 12 & 0x3F));
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  }
}

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  for (size_t i = skip_ascii(text, 0); i < text.size(); i = skip_ascii(text, i)) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const int length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || i + static_cast<size_t>(length) > text.size()) return i;
    for (int k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + static_cast<size_t>(k)]) & 0xC0) != 0x80) return i;
    }
    const char32_t c = decode_utf8(text, i).code_point;
    const char32_t lowest = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
    if (c < lowest || c >= kEnd || (c >= 0xD800 && c < 0xE000)) return i;
    i += static_cast<size_t>(length);
  }
  return std::nullopt;
}

Normalized normalize_nfc(std::string_view text) {
  Normalized result;
  size_t change = next_change(text, 0);
  if (change == text.size()) return result;
  size_t copied = 0;
  while (change < text.size()) {
    // The run begins with the character before, which marks may join, and ends before one that
    // stands by itself.
    size_t begin = change;
    if (begin > copied) {
      --begin;
      while ((static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    }
    size_t end = change;
    while (end < text.size()) {
      const Decoded c = decode_utf8(text, end);
      if (end > change && !tables().may_change[c.code_point]) break;
      end += static_cast<size_t>(c.length);
    }
    copy_unchanged(text, copied, begin, result);
    normalize_run(text, begin, end, result);
    copied = end;
    change = next_change(text, end);
  }
  copy_unchanged(text, copied, text.size(), result);
  result.is_unchanged = result.text == text;
  if (result.is_unchanged) {
    result.text.clear();
    result.source.clear();
  }
  return result;
}

}  // namespace msa::text
