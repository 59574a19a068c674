#pragma once
// Byte-level byte pair encoding of one piece of text.

#include <array>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace msa::text {

/// Immutable after construction; may be used from several threads.
class BytePairEncoder {
 public:
  /// `tokens[id]` are a token's bytes; merges in order of falling preference. No text becomes one
  /// of `special`. Throws Error(kInvalidFormat) if a byte has no token or a merge's result is none.
  BytePairEncoder(const std::vector<std::string>& tokens,
                  std::span<const std::pair<int32_t, int32_t>> merges,
                  const std::set<int32_t>& special);

  /// Appends the ids of a piece. Linear for short pieces, n log n for long ones.
  void encode(std::string_view piece, std::vector<int32_t>& ids) const;

 private:
  struct Merge {
    int32_t rank = 0;
    int32_t result = 0;
  };

  const Merge* find(int32_t first, int32_t second) const;
  void merge_short(std::string_view piece, std::vector<int32_t>& ids) const;
  void merge_long(std::string_view piece, std::vector<int32_t>& ids) const;

  std::array<int32_t, 256> byte_ids_{};
  // Open addressing: keys are first << 32 | second, 2^n slots at most half full.
  std::vector<uint64_t> keys_;
  std::vector<Merge> merges_;
  uint64_t mask_ = 0;
  uint32_t serial_ = 0;  // tells this encoder's words from another's in the cache
};

}  // namespace msa::text
