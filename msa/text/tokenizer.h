#pragma once
// Byte-level BPE: ids equal to those of the Hugging Face tokenizers library.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/text/byte_pair_encoder.h"
#include "msa/text/tokenizer_files.h"

namespace msa::text {

struct Encoding {
  std::vector<int32_t> ids;
  /// Bytes [first, second) of the input that a token stands for; a token that is a part of a
  /// character has all of it.
  std::vector<std::pair<int64_t, int64_t>> offsets;
};

/// Immutable after load; may be used from several threads.
class Tokenizer {
 public:
  /// Reads FOLDER/tokenizer.json, or vocab.json and merges.txt. Errors as read_tokenizer_files.
  static std::unique_ptr<Tokenizer> load(FileSystem& files, const std::filesystem::path& folder);

  /// Plain text: the characters of special tokens are characters. Throws Error(kInvalidFormat) with
  /// the byte's place if `text` is not UTF-8.
  std::vector<int32_t> encode(std::string_view text) const;
  Encoding encode_with_offsets(std::string_view text) const;

  /// Text in which special tokens stand for themselves. For text that the caller wrote, never for
  /// documents.
  std::vector<int32_t> encode_with_special(std::string_view text) const;

  /// The tokens' bytes, joined; may end within a character. Ids outside the vocabulary give
  /// nothing.
  std::string decode(std::span<const int32_t> ids) const;
  const std::string& token_bytes(int32_t id) const;

  /// The id of a special token ("<|im_end|>"), if there is one.
  std::optional<int32_t> special_id(std::string_view content) const;

  /// True for the id of a special token, whose bytes are no text.
  bool is_special(int32_t id) const;

  int64_t vocab_size() const { return static_cast<int64_t>(tokens_.size()); }

  /// 32 hex digits over tokens, merges, special tokens and split rule: equal ids for equal text.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  explicit Tokenizer(TokenizerFiles files);

  void encode_plain(std::string_view text, std::vector<int32_t>& ids) const;

  std::vector<std::string> tokens_;
  std::map<std::string, int32_t, std::less<>> special_;
  SplitRule split_;
  bool normalizes_nfc_;
  BytePairEncoder encoder_;
  std::string fingerprint_;
};

}  // namespace msa::text
