#pragma once
// Byte pair encoding as its definition has it: what the tokenizer is compared with.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "msa/text/tokenizer_files.h"
#include "msa/text/word_splitter.h"
#include "tests/fuzz/fuzz_target.h"

namespace msa::fuzz {

/// Merges pair by pair, the one of the lowest rank first, the leftmost of equals.
class SlowEncoder {
 public:
  explicit SlowEncoder(const text::TokenizerFiles& files) : split_(files.split) {
    std::set<int32_t> special;
    for (const auto& [content, id] : files.special) special.insert(id);
    std::map<std::string, int32_t> id_of;
    for (size_t id = 0; id < files.tokens.size(); ++id) {
      const auto number = static_cast<int32_t>(id);
      if (!special.contains(number)) id_of.emplace(files.tokens[id], number);
    }
    for (int byte = 0; byte < 256; ++byte) {
      byte_ids_.push_back(id_of.at(std::string(1, static_cast<char>(byte))));
    }
    int32_t rank = 0;
    for (const auto& [first, second] : files.merges) {
      const std::string joined =
          files.tokens[static_cast<size_t>(first)] + files.tokens[static_cast<size_t>(second)];
      merges_[{first, second}] = {rank++, id_of.at(joined)};
    }
  }

  std::vector<int32_t> encode(std::string_view text) const {
    std::vector<int32_t> ids;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text::end_of_piece(split_, text, begin);
      expect(end > begin && end <= text.size(), "a piece without an end");
      const auto piece = encode_piece(text.substr(begin, end - begin));
      ids.insert(ids.end(), piece.begin(), piece.end());
      begin = end;
    }
    return ids;
  }

 private:
  std::vector<int32_t> encode_piece(std::string_view piece) const {
    std::vector<int32_t> ids;
    for (const char c : piece) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    for (;;) {
      std::pair<int32_t, int32_t> best{0, 0};
      size_t place = ids.size();
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = merges_.find({ids[i], ids[i + 1]});
        if (found == merges_.end()) continue;
        if (place < ids.size() && found->second.first >= best.first) continue;
        best = found->second;
        place = i;
      }
      if (place == ids.size()) return ids;
      ids[place] = best.second;
      ids.erase(ids.begin() + static_cast<ptrdiff_t>(place) + 1);
    }
  }

  text::SplitRule split_;
  std::vector<int32_t> byte_ids_;
  std::map<std::pair<int32_t, int32_t>, std::pair<int32_t, int32_t>> merges_;  // rank, result
};

}  // namespace msa::fuzz
