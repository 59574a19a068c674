#include "msa/text/tokenizer_files.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/text/unicode.h"

namespace msa::text {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;
constexpr size_t kMaxTokens = size_t{1} << 24;

template <typename... Parts>
[[noreturn]] void refuse(const std::string& what, const Parts&... parts) {
  throw Error(ErrorCode::kInvalidFormat, what, ": ", parts...);
}

/// Byte-level vocabularies spell every byte as a printable character: printable Latin-1 as itself,
/// the other 68 bytes as U+0100 and up.
std::vector<int> byte_of_character() {
  std::vector<int> byte_of(0x144, -1);
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    byte_of[is_printable ? static_cast<char32_t>(byte) : next++] = byte;
  }
  return byte_of;
}

/// The bytes that a vocabulary's spelling stands for, or nothing if it is no such spelling.
std::optional<std::string> bytes_of(std::string_view spelling) {
  static const std::vector<int> byte_of = byte_of_character();
  std::string bytes;
  for (size_t i = 0; i < spelling.size();) {
    const Decoded c = decode_utf8(spelling, i);
    if (c.code_point >= byte_of.size() || byte_of[c.code_point] < 0) return std::nullopt;
    bytes += static_cast<char>(byte_of[c.code_point]);
    i += static_cast<size_t>(c.length);
  }
  return bytes;
}

/// Collects tokens by id and knows them by spelling. Ids are dense: with `max_tokens` entries to
/// come, an id is below that, so a file takes no more memory than its own size asks for.
class Vocabulary {
 public:
  Vocabulary(std::string what, size_t max_tokens)
      : what_(std::move(what)), max_tokens_(std::min(max_tokens, kMaxTokens)) {}

  void add(const std::string& spelling, const Json& id_value, bool is_special) {
    const size_t id = checked_id(spelling, id_value);
    if (spelling.empty()) refuse(what_, "token ", id, " is empty");
    if (id >= tokens_.size()) tokens_.resize(id + 1);
    const auto bytes = is_special ? std::optional(spelling) : bytes_of(spelling);
    if (!bytes) refuse(what_, "token ", id, " \"", spelling, "\" is not byte-level");
    if (!tokens_[id].empty()) refuse(what_, "the id ", id, " is given to two tokens");
    tokens_[id] = *bytes;
    id_of_[spelling] = static_cast<int32_t>(id);
  }

  /// An added token, which the vocabulary may hold already: then under the same id.
  int32_t add_special(const std::string& content, const Json& id_value) {
    if (!has(content)) add(content, id_value, true);
    const int32_t held = id_of_.at(content);
    if (checked_id(content, id_value) != static_cast<size_t>(held)) {
      refuse(what_, "\"", content, "\" has two ids: ", held, " and ", to_line(id_value));
    }
    return held;
  }

  int32_t id(const std::string& spelling, size_t merge) const {
    const auto found = id_of_.find(spelling);
    if (found == id_of_.end()) {
      refuse(what_, "merge ", merge, " refers to \"", spelling, "\", which is no token");
    }
    return found->second;
  }

  bool has(const std::string& spelling) const { return id_of_.contains(spelling); }

  std::vector<std::string> take() {
    for (size_t id = 0; id < tokens_.size(); ++id) {
      if (tokens_[id].empty()) refuse(what_, "no token has the id ", id);
    }
    return std::move(tokens_);
  }

 private:
  size_t checked_id(const std::string& spelling, const Json& id_value) const {
    if (!id_value.is_number_unsigned() || id_value.get<uint64_t>() >= max_tokens_) {
      refuse(what_, "token \"", spelling, "\" must have an id below ", max_tokens_, ", got ",
             to_line(id_value).substr(0, 40));
    }
    return static_cast<size_t>(id_value.get<uint64_t>());
  }

  std::string what_;
  size_t max_tokens_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, int32_t> id_of_;
};

void expect_absent(const Json& object, const char* key, const std::string& what) {
  if (!json_has(object, key)) return;
  const Json& value = object.at(key);
  const bool is_off = value.is_boolean() ? !value.get<bool>()
                                         : value.is_string() && value.get<std::string>().empty();
  if (!is_off) refuse(what, "\"", key, "\" is not supported: ", to_line(value).substr(0, 60));
}

std::string type_of(const Json& object) {
  return json_has(object, "type") && object.at("type").is_string()
             ? object.at("type").get<std::string>()
             : std::string("none");
}

bool is_bool(const Json& object, const char* key, bool wanted) {
  return json_has(object, key) && object.at(key).is_boolean() &&
         object.at(key).get<bool>() == wanted;
}

void parse_normalizer(const Json& json, const std::string& what, TokenizerFiles& out) {
  out.normalizes_nfc = false;
  if (!json_has(json, "normalizer")) return;
  const std::string type = type_of(json.at("normalizer"));
  if (type != "NFC") refuse(what, "the normalizer \"", type, "\" is not supported, only NFC");
  out.normalizes_nfc = true;
}

void parse_pre_tokenizer(const Json& json, const std::string& what, TokenizerFiles& out) {
  const Json& whole = json_has(json, "pre_tokenizer") ? json.at("pre_tokenizer") : Json();
  const auto check_byte_level = [&](const Json& step) {
    if (json_has(step, "add_prefix_space") && !is_bool(step, "add_prefix_space", false)) {
      refuse(what, "add_prefix_space is not supported");
    }
  };
  if (type_of(whole) == "ByteLevel") {
    check_byte_level(whole);
    out.split = SplitRule::kGpt2;
    return;
  }
  if (type_of(whole) != "Sequence" || !json_has(whole, "pretokenizers") ||
      !whole.at("pretokenizers").is_array() || whole.at("pretokenizers").size() != 2) {
    refuse(what, "the pre_tokenizer must be ByteLevel, or a Sequence of Split and ByteLevel");
  }
  const Json& split = whole.at("pretokenizers")[0];
  const Json& byte_level = whole.at("pretokenizers")[1];
  if (type_of(split) != "Split" || type_of(byte_level) != "ByteLevel" ||
      !json_has(split, "pattern") || !json_has(split.at("pattern"), "Regex") ||
      !json_has(split, "behavior") || split.at("behavior") != "Isolated" ||
      !is_bool(split, "invert", false) || !is_bool(byte_level, "use_regex", false)) {
    refuse(what,
           "the pre_tokenizer must split by a Regex (behavior \"Isolated\", invert false) and then "
           "be ByteLevel (use_regex false)");
  }
  check_byte_level(byte_level);
  const Json& pattern = split.at("pattern").at("Regex");
  for (const SplitRule rule : {SplitRule::kQwen2, SplitRule::kGpt2}) {
    if (pattern == pattern_of(rule)) {
      out.split = rule;
      return;
    }
  }
  refuse(what, "the split pattern is not supported: ", to_line(pattern).substr(0, 200));
}

/// The two spellings of a merge: "a b" or ["a", "b"].
std::pair<std::string, std::string> parse_merge(const Json& merge, size_t number,
                                                const std::string& what) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  const std::string text = merge.is_string() ? merge.get<std::string>() : std::string();
  const size_t blank = text.find(' ');
  if (blank == std::string::npos || text.find(' ', blank + 1) != std::string::npos) {
    refuse(what, "merge ", number, " must be two tokens, got ", to_line(merge).substr(0, 60));
  }
  return {text.substr(0, blank), text.substr(blank + 1)};
}

TokenizerFiles parse_tokenizer_json(const Json& json, const std::string& what) {
  TokenizerFiles out;
  if (!json_has(json, "model") || type_of(json.at("model")) != "BPE") {
    refuse(what, "model.type must be \"BPE\"");
  }
  const Json& model = json.at("model");
  for (const char* key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                          "fuse_unk", "byte_fallback", "ignore_merges"}) {
    expect_absent(model, key, what);
  }
  if (!json_has(model, "vocab") || !model.at("vocab").is_object() || !json_has(model, "merges") ||
      !model.at("merges").is_array()) {
    refuse(what, "model.vocab must be an object and model.merges a list");
  }
  parse_normalizer(json, what, out);
  parse_pre_tokenizer(json, what, out);
  const Json added = json_has(json, "added_tokens") ? json.at("added_tokens") : Json::array();
  if (!added.is_array()) refuse(what, "added_tokens must be a list");
  for (const Json& token : added) {
    out.special[json_string(token, "content", what + " added_tokens")] = 0;
  }
  Vocabulary vocabulary(what, model.at("vocab").size() + added.size());
  for (const auto& [spelling, id] : model.at("vocab").items()) {
    vocabulary.add(spelling, id, out.special.contains(spelling));
  }
  for (const Json& token : added) {
    const auto content = token.at("content").get<std::string>();
    out.special[content] =
        vocabulary.add_special(content, token.contains("id") ? token.at("id") : Json());
  }
  size_t number = 0;
  for (const Json& merge : model.at("merges")) {
    const auto [first, second] = parse_merge(merge, number, what);
    out.merges.emplace_back(vocabulary.id(first, number), vocabulary.id(second, number));
    ++number;
  }
  out.tokens = vocabulary.take();
  return out;
}

TokenizerFiles read_vocab_and_merges(FileSystem& files, const std::filesystem::path& folder) {
  TokenizerFiles out;
  const auto read_object = [&](const char* name) {
    const std::string path = (folder / name).string();
    Json object = parse_json(read_file(files, path, kMaxFileBytes), path);
    if (!object.is_object()) refuse(path, "must be an object, got a ", object.type_name());
    return object;
  };
  std::string tokenizer_class = "GPT2Tokenizer";
  Json added = Json::object();
  if (files.exists(folder / "tokenizer_config.json")) {
    const std::string what = (folder / "tokenizer_config.json").string();
    const Json config = read_object("tokenizer_config.json");
    if (json_has(config, "tokenizer_class")) {
      tokenizer_class = json_string(config, "tokenizer_class", what);
    }
    if (json_has(config, "added_tokens_decoder")) {
      if (!config.at("added_tokens_decoder").is_object()) {
        refuse(what, "added_tokens_decoder must be an object of tokens by id");
      }
      for (const auto& [id, token] : config.at("added_tokens_decoder").items()) {
        if (id.empty() || id.size() > 9 ||
            id.find_first_not_of("0123456789") != std::string::npos) {
          refuse(what, "\"", id, "\" is no token id");
        }
        added[json_string(token, "content", what)] = static_cast<uint64_t>(std::stoull(id));
      }
    }
  }
  if (files.exists(folder / "added_tokens.json")) added.update(read_object("added_tokens.json"));
  const bool is_qwen2 =
      tokenizer_class.starts_with("Qwen2") || tokenizer_class.starts_with("Qwen3");
  out.split = is_qwen2 ? SplitRule::kQwen2 : SplitRule::kGpt2;
  out.normalizes_nfc = is_qwen2;
  const std::string vocab_name = (folder / "vocab.json").string();
  const Json vocab = read_object("vocab.json");
  // GPT-2 keeps its one special token in the vocabulary itself.
  if (!is_qwen2 && vocab.contains("<|endoftext|>") && !added.contains("<|endoftext|>")) {
    added["<|endoftext|>"] = vocab.at("<|endoftext|>");
  }
  Vocabulary vocabulary(vocab_name, vocab.size() + added.size());
  for (const auto& [spelling, id] : vocab.items()) {
    vocabulary.add(spelling, id, added.contains(spelling));
  }
  for (const auto& [content, id] : added.items()) {
    out.special[content] = vocabulary.add_special(content, id);
  }
  const auto merges_path = folder / "merges.txt";
  const std::string merges = read_file(files, merges_path, kMaxFileBytes);
  size_t number = 0;
  for (size_t begin = 0; begin < merges.size();) {
    size_t end = merges.find('\n', begin);
    if (end == std::string::npos) end = merges.size();
    std::string line = merges.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    begin = end + 1;
    if (line.empty() || line.starts_with("#version")) continue;
    const auto [first, second] = parse_merge(line, number, merges_path.string());
    out.merges.emplace_back(vocabulary.id(first, number), vocabulary.id(second, number));
    ++number;
  }
  out.tokens = vocabulary.take();
  return out;
}

}  // namespace

TokenizerFiles read_tokenizer_files(FileSystem& files, const std::filesystem::path& folder) {
  const auto path = folder / "tokenizer.json";
  if (files.exists(path)) {
    return parse_tokenizer_json(parse_json(read_file(files, path, kMaxFileBytes), path.string()),
                                path.string());
  }
  if (files.exists(folder / "vocab.json")) return read_vocab_and_merges(files, folder);
  throw Error(ErrorCode::kNotFound, folder.string(),
              " holds no tokenizer: neither tokenizer.json nor vocab.json");
}

}  // namespace msa::text
