#pragma once
// Reads a tokenizer's files and checks them: tokenizer.json, or vocab.json and merges.txt.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/text/word_splitter.h"

namespace msa::text {

struct TokenizerFiles {
  std::vector<std::string> tokens;  // [V] bytes of each token; of special ones their text
  std::vector<std::pair<int32_t, int32_t>> merges;
  std::map<std::string, int32_t> special;  // added tokens by content
  SplitRule split = SplitRule::kQwen2;
  bool normalizes_nfc = true;
};

/// Throws Error(kNotFound) if the folder has no tokenizer, Error(kInvalidFormat) naming file and
/// component if it is damaged or needs what is not supported.
TokenizerFiles read_tokenizer_files(FileSystem& files, const std::filesystem::path& folder);

}  // namespace msa::text
