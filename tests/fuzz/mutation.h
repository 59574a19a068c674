#pragma once
// Mutations that know what a reader looks at: numbers in text, lengths, parts of a file.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>

// Of libFuzzer: changes bytes in place by its own rules, led by coverage and the dictionary.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace msa::fuzz {

using Random = std::minstd_rand;

inline bool chance(Random& random, unsigned one_in) { return random() % one_in == 0; }

/// The bytes after one of libFuzzer's mutations, at most `max_size`.
inline std::string mutated(std::string bytes, size_t max_size) {
  const size_t size = bytes.size();
  bytes.resize(std::max(size, max_size));
  if (bytes.empty()) return bytes;
  const size_t after = LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(bytes.data()), size, max_size);
  bytes.resize(after);
  return bytes;
}

/// Replaces one whole number of a text by one at which sizes overflow or end.
inline std::string with_other_number(std::string text, Random& random) {
  constexpr std::string_view kDigits = "0123456789";
  constexpr std::array<std::string_view, 22> kNumbers{"0",
                                                      "1",
                                                      "-1",
                                                      "2",
                                                      "3",
                                                      "4",
                                                      "8",
                                                      "16",
                                                      "127",
                                                      "255",
                                                      "256",
                                                      "65536",
                                                      "262144",
                                                      "2147483647",
                                                      "4294967295",
                                                      "4294967296",
                                                      "4611686018427387904",
                                                      "9223372036854775807",
                                                      "9223372036854775808",
                                                      "18446744073709551615",
                                                      "1e3",
                                                      "1.5"};
  if (text.empty()) return text;
  const size_t first = text.find_first_of(kDigits, random() % text.size());
  if (first == std::string::npos) return text;
  const size_t end = std::min(text.find_first_not_of(kDigits, first), text.size());
  std::string number(kNumbers[random() % kNumbers.size()]);
  const auto is_small = [](std::string_view digits) { return digits.size() < 19; };  // no overflow
  if (chance(random, 3)) {
    const std::string before = text.substr(first, end - first);
    if (is_small(before)) {
      number = std::to_string(std::stoll(before) + static_cast<int64_t>(random() % 17) - 8);
    }
  } else if (chance(random, 3)) {  // as large as another one, or one off
    const size_t from = text.find_first_of(kDigits, random() % text.size());
    const std::string other = from == std::string::npos
                                  ? ""
                                  : text.substr(from, text.find_first_not_of(kDigits, from) - from);
    if (!other.empty() && is_small(other)) {
      number = std::to_string(std::stoll(other) + static_cast<int64_t>(random() % 3) - 1);
    }
  }
  return text.replace(first, end - first, number);
}

/// Replaces a part of a text, from one of the `borders` to another, by such a part of it, or
/// repeats or removes it.
inline std::string with_parts_moved(std::string text, std::string_view borders, Random& random) {
  if (text.empty()) return text;
  const auto draw = [&] {
    const size_t place = text.find_first_of(borders, random() % text.size());
    return place == std::string::npos ? text.size() : place;
  };
  size_t first = draw();
  size_t end = draw();
  if (first > end) std::swap(first, end);
  const std::string part = text.substr(first, end - first);
  switch (random() % 3) {
    case 0:
      return text.erase(first, end - first);
    case 1:
      return text.insert(draw(), part);
    default: {
      size_t from = draw();
      size_t to = draw();
      if (from > to) std::swap(from, to);
      return text.replace(first, end - first, text.substr(from, to - from));
    }
  }
}

/// One of these, or libFuzzer's own.
inline std::string with_text_mutated(std::string text, std::string_view borders, size_t max_size,
                                     Random& random) {
  switch (random() % 4) {
    case 0:
      do {
        text = with_other_number(std::move(text), random);
      } while (chance(random, 2));
      break;
    case 1:
      text = with_parts_moved(std::move(text), borders, random);
      break;
    default:
      return mutated(std::move(text), max_size);
  }
  if (text.size() > max_size) text.resize(max_size);
  return text;
}

/// Hands a mutated input back to libFuzzer.
inline size_t give(const std::string& bytes, uint8_t* data, size_t max_size) {
  const size_t size = std::min(bytes.size(), max_size);
  std::memcpy(data, bytes.data(), size);
  return size;
}

inline uint64_t load_number(std::string_view bytes) {
  uint64_t number = 0;
  std::memcpy(&number, bytes.data(), std::min<size_t>(bytes.size(), sizeof number));
  return number;
}

inline std::string number_bytes(uint64_t number) {
  return {reinterpret_cast<const char*>(&number), sizeof number};
}

}  // namespace msa::fuzz
