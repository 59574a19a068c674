#include "msa/text/tokenizer.h"

#include <algorithm>
#include <set>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "msa/base/error.h"
#include "msa/text/unicode.h"

namespace msa::text {
namespace {

void expect_utf8(std::string_view text) {
  if (const auto place = find_invalid_utf8(text)) {
    throw Error(ErrorCode::kInvalidFormat, "the text is not UTF-8 at byte ", *place);
  }
}

std::string fingerprint_of(const TokenizerFiles& files) {
  std::string all = files.split == SplitRule::kQwen2 ? "qwen2" : "gpt2";
  all += files.normalizes_nfc ? " nfc\n" : "\n";
  for (const std::string& token : files.tokens) all += std::to_string(token.size()) + ":" + token;
  for (const auto& [first, second] : files.merges) {
    all += std::to_string(first) + "," + std::to_string(second) + ";";
  }
  for (const auto& [content, id] : files.special) all += std::to_string(id) + "=" + content + ";";
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits(all.data(), all.size()));
  std::string hex;
  for (const unsigned char byte : digest.digest) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

std::set<int32_t> ids_of(const std::map<std::string, int32_t>& special) {
  std::set<int32_t> ids;
  for (const auto& [content, id] : special) ids.insert(id);
  return ids;
}

}  // namespace

Tokenizer::Tokenizer(TokenizerFiles files)
    : tokens_(files.tokens),
      special_(files.special.begin(), files.special.end()),
      split_(files.split),
      normalizes_nfc_(files.normalizes_nfc),
      encoder_(files.tokens, files.merges, ids_of(files.special)),
      fingerprint_(fingerprint_of(files)) {}

std::unique_ptr<Tokenizer> Tokenizer::load(FileSystem& files, const std::filesystem::path& folder) {
  try {
    return std::unique_ptr<Tokenizer>(new Tokenizer(read_tokenizer_files(files, folder)));
  } catch (const Error& error) {
    if (std::string_view(error.what()).find(folder.string()) != std::string_view::npos) throw;
    throw Error(error.code(), folder.string(), ": ", error.what());
  }
}

void Tokenizer::encode_plain(std::string_view text, std::vector<int32_t>& ids) const {
  const Normalized normalized = normalizes_nfc_ ? normalize_nfc(text) : Normalized{};
  const std::string_view source = normalized.is_unchanged ? text : normalized.text;
  for (size_t begin = 0; begin < source.size();) {
    const size_t end = end_of_piece(split_, source, begin);
    encoder_.encode(source.substr(begin, end - begin), ids);
    begin = end;
  }
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  expect_utf8(text);
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  encode_plain(text, ids);
  return ids;
}

Encoding Tokenizer::encode_with_offsets(std::string_view text) const {
  expect_utf8(text);
  const Normalized normalized = normalizes_nfc_ ? normalize_nfc(text) : Normalized{};
  const std::string_view source = normalized.is_unchanged ? text : normalized.text;
  Encoding encoding;
  encode_plain(text, encoding.ids);
  const auto is_inside = [&](size_t i) {
    return i < source.size() && (static_cast<unsigned char>(source[i]) & 0xC0) == 0x80;
  };
  size_t begin = 0;
  for (const int32_t id : encoding.ids) {
    const size_t end = begin + tokens_[static_cast<size_t>(id)].size();
    size_t first = begin;
    size_t last = end;
    while (is_inside(first)) --first;
    while (is_inside(last)) ++last;
    if (normalized.is_unchanged) {
      encoding.offsets.emplace_back(first, last);
    } else {
      encoding.offsets.emplace_back(normalized.source[first].first,
                                    normalized.source[last - 1].end);
    }
    begin = end;
  }
  return encoding;
}

std::vector<int32_t> Tokenizer::encode_with_special(std::string_view text) const {
  expect_utf8(text);
  std::vector<int32_t> ids;
  size_t plain_first = 0;
  for (size_t i = 0; i < text.size();) {
    const std::pair<const std::string, int32_t>* longest = nullptr;
    for (const auto& entry : special_) {  // in order: what begins with another one stands behind it
      if (text.substr(i).starts_with(entry.first)) longest = &entry;
    }
    if (longest == nullptr) {
      ++i;
      continue;
    }
    encode_plain(text.substr(plain_first, i - plain_first), ids);
    ids.push_back(longest->second);
    i += longest->first.size();
    plain_first = i;
  }
  encode_plain(text.substr(plain_first), ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string bytes;
  for (const int32_t id : ids) bytes += token_bytes(id);
  return bytes;
}

const std::string& Tokenizer::token_bytes(int32_t id) const {
  static const std::string nothing;
  return id >= 0 && id < vocab_size() ? tokens_[static_cast<size_t>(id)] : nothing;
}

bool Tokenizer::is_special(int32_t id) const {
  const auto found = special_.find(token_bytes(id));
  return found != special_.end() && found->second == id;
}

std::optional<int32_t> Tokenizer::special_id(std::string_view content) const {
  const auto found = special_.find(content);
  if (found == special_.end()) return std::nullopt;
  return found->second;
}

}  // namespace msa::text
