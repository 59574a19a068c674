// Ids and offsets against those of the Hugging Face tokenizers library.

#include "msa/text/tokenizer.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/text/unicode.h"
#include "msa/text/unicode_tables.h"

namespace msa::text {
namespace {

const std::filesystem::path kData = std::filesystem::path(MSA_SOURCE_DIR) / "tests/data/tokenizer";

const Tokenizer& tokenizer(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Tokenizer>> loaded;
  auto& entry = loaded[name];
  if (!entry) entry = Tokenizer::load(real_file_system(), kData / name);
  return *entry;
}

std::vector<Json> lines(const std::string& file) {
  std::istringstream text(read_file(real_file_system(), kData / file, uint64_t{1} << 30));
  std::vector<Json> values;
  for (std::string line; std::getline(text, line);) values.push_back(parse_json(line, file));
  return values;
}

void expect_ids(const std::string& name, const std::string& file, size_t at_least) {
  const auto all = lines(file);
  EXPECT_GE(all.size(), at_least);
  for (const Json& line : all) {
    const auto text = line.at("text").get<std::string>();
    const auto ids = tokenizer(name).encode(text);
    EXPECT_EQ(ids, line.at("ids").get<std::vector<int32_t>>()) << text;
    if (name == "gpt2") {
      EXPECT_EQ(tokenizer(name).decode(ids), text);
    }
  }
}

TEST(Tokenizer, GivesTheIdsOfEveryVectorOfBothVocabularies) {
  expect_ids("qwen2", "qwen2/vectors.jsonl", 43);
  expect_ids("gpt2", "gpt2/vectors.jsonl", 43);
}

TEST(Tokenizer, GivesTheIdsOfRandomStrings) {
  expect_ids("qwen2", "golden/qwen2_strings.jsonl", 2000);
  expect_ids("gpt2", "golden/gpt2_strings.jsonl", 400);
}

TEST(Tokenizer, GivesTheIdsOfPassages) { expect_ids("qwen2", "golden/qwen2_passages.jsonl", 300); }

TEST(Tokenizer, ComposesCharactersAsTheLibraryDoes) {
  expect_ids("qwen2", "golden/qwen2_nfc.jsonl", 200);
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_, EVP_sha256(), nullptr); }
  ~Sha256() { EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void add(const std::vector<int32_t>& ids) {
    const auto count = static_cast<uint32_t>(ids.size());
    EVP_DigestUpdate(context_, &count, 4);
    EVP_DigestUpdate(context_, ids.data(), 4 * ids.size());
  }
  std::string first_16_digits() {
    unsigned char bytes[32];
    EVP_DigestFinal_ex(context_, bytes, nullptr);
    std::string hex;
    for (int i = 0; i < 8; ++i) {
      char part[3];
      std::snprintf(part, sizeof part, "%02x", bytes[i]);
      hex += part;
    }
    return hex;
  }

 private:
  EVP_MD_CTX* context_;
};

std::string utf8(char32_t c) {
  std::string text;
  append_utf8(c, text);
  return text;
}

TEST(Tokenizer, GivesTheIdsOfEveryCodePointInThreeContexts) {
  const Json wanted = parse_json(
      read_file(real_file_system(), kData / "golden/qwen2_scalar_values.json", 1 << 30), "digests");
  int64_t code_points = 0;
  for (const auto& [key, digest] : wanted.items()) {
    const auto first = static_cast<char32_t>(std::stoul(key, nullptr, 16));
    Sha256 sha;
    for (char32_t c = first; c < first + 256; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      ++code_points;
      for (const std::string& text : {utf8(c), "a" + utf8(c) + "b", " " + utf8(c) + " "}) {
        sha.add(tokenizer("qwen2").encode(text));
      }
    }
    EXPECT_EQ(sha.first_16_digits(), digest.get<std::string>()) << "block " << key;
  }
  EXPECT_EQ(code_points, 1'112'064);
}

TEST(Tokenizer, GivesTheIdsOfDecomposedCharacters) {
  const Json wanted = parse_json(
      read_file(real_file_system(), kData / "golden/qwen2_decomposed.json", 1 << 20), "digests");
  std::map<char32_t, std::string> decomposed{
      {0x11938, utf8(0x11935) + utf8(0x11930)}};  // of Unicode 13
  for (const auto& entry : std::span(kDecompositions, kNumDecompositions)) {
    std::string& text = decomposed[entry.code_point];
    for (uint32_t i = 0; i < entry.length; ++i) text += utf8(entry.parts[i]);
  }
  for (char32_t index = 0; index < 11172; ++index) {
    std::string& text = decomposed[0xAC00 + index];
    text = utf8(0x1100 + index / 588) + utf8(0x1161 + index % 588 / 28);
    if (index % 28 != 0) text += utf8(0x11A7 + index % 28);
  }
  int64_t characters = 0;
  for (const auto& [key, digest] : wanted.items()) {
    const auto first = static_cast<char32_t>(std::stoul(key, nullptr, 16));
    Sha256 sha;
    for (auto c = decomposed.lower_bound(first); c != decomposed.end() && c->first < first + 256;
         ++c) {
      sha.add(tokenizer("qwen2").encode(c->second));
      ++characters;
    }
    EXPECT_EQ(sha.first_16_digits(), digest.get<std::string>()) << "block " << key;
  }
  EXPECT_EQ(characters, static_cast<int64_t>(decomposed.size()));
}

TEST(Tokenizer, OffsetsAreBytesOfTheOriginalText) {
  for (const Json& line : lines("golden/qwen2_offsets.jsonl")) {
    const auto text = line.at("text").get<std::string>();
    const Encoding encoding = tokenizer("qwen2").encode_with_offsets(text);
    EXPECT_EQ(encoding.ids, line.at("ids").get<std::vector<int32_t>>());
    std::vector<std::pair<int64_t, int64_t>> wanted;
    for (const Json& pair : line.at("offsets")) wanted.emplace_back(pair[0], pair[1]);
    EXPECT_EQ(encoding.offsets, wanted) << text;
  }
}

TEST(Tokenizer, KnowsSpecialTokensOnlyWhereTheCallerSaysSo) {
  const Tokenizer& qwen2 = tokenizer("qwen2");
  std::set<int32_t> special;
  for (const char* content : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
    special.insert(*qwen2.special_id(content));
  }
  for (const Json& line : lines("golden/qwen2_special.jsonl")) {
    const auto text = line.at("text").get<std::string>();
    EXPECT_EQ(qwen2.encode_with_special(text), line.at("ids").get<std::vector<int32_t>>()) << text;
    for (const int32_t id : qwen2.encode(text)) EXPECT_FALSE(special.contains(id)) << text;
  }
}

TEST(Tokenizer, NoRandomTextEverGivesASpecialToken) {
  const Tokenizer& qwen2 = tokenizer("qwen2");
  const int32_t lowest = *qwen2.special_id("<|endoftext|>");
  const std::vector<std::string> pieces{"<|im_start|>",
                                        "<|im_end|>",
                                        "<|endoftext|>",
                                        "<|",
                                        "|>",
                                        "im_end",
                                        "[7]",
                                        "<End-of-Retrieve>",
                                        " ",
                                        "\n",
                                        "a",
                                        "\xC3\xA9",
                                        "e\xCC\x81",
                                        "\xF0\x9F\x98\x80"};
  std::mt19937 random(17);
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (uint32_t n = random() % 8; n > 0; --n) text += pieces[random() % pieces.size()];
    const auto ids = qwen2.encode(text);
    for (const int32_t id : ids) ASSERT_LT(id, lowest) << text;
    const Normalized normalized = normalize_nfc(text);
    ASSERT_EQ(qwen2.decode(ids), normalized.is_unchanged ? text : normalized.text);
  }
}

TEST(Tokenizer, OffsetsRiseAndCoverEveryByteOfTextThatIsNormal) {
  std::mt19937 random(23);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (uint32_t n = random() % 30; n > 0; --n) {
      static constexpr char32_t kFirst[] = {0x20,   0x61,    0xC0, 0x300, 0x4E00,
                                            0xAC00, 0x1F600, 0x0A, 0x1100};
      text += utf8(kFirst[random() % std::size(kFirst)] + random() % 20);
    }
    const Encoding encoding = tokenizer("qwen2").encode_with_offsets(text);
    const bool is_unchanged = normalize_nfc(text).is_unchanged;
    int64_t covered = 0;
    int64_t before = 0;
    for (const auto& [first, end] : encoding.offsets) {
      ASSERT_LE(before, first) << text;
      ASSERT_LT(first, end);
      if (is_unchanged) {
        ASSERT_LE(first, covered) << text;
      }
      ASSERT_LE(end, static_cast<int64_t>(text.size()));
      covered = std::max(covered, end);
      before = first;
    }
    if (is_unchanged) {
      ASSERT_EQ(covered, static_cast<int64_t>(text.size()));
    }
  }
}

TEST(Tokenizer, InvalidUtf8IsRefusedWithItsPlace) {
  for (const auto& [text, place] : {std::pair<std::string, int>{"ab\xFF", 2},
                                    {"\xC0\x80", 0},
                                    {"x\xED\xA0\x80", 1},
                                    {"\xF4\x90\x80\x80", 0},
                                    {"ok \xE4\xB8", 3}}) {
    EXPECT_EQ(find_invalid_utf8(text), static_cast<size_t>(place));
    try {
      tokenizer("qwen2").encode(text);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
      EXPECT_NE(std::string(error.what()).find("byte " + std::to_string(place)), std::string::npos);
    }
  }
}

TEST(Tokenizer, AWordOfAMegabyteTakesNoQuadraticTime) {
  std::string word;
  std::mt19937 random(29);
  while (word.size() < 1'000'000) word += static_cast<char>('a' + random() % 26);
  const std::clock_t start = std::clock();  // of this process, whatever else runs
  const auto ids = tokenizer("qwen2").encode(word);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_EQ(tokenizer("qwen2").decode(ids), word);
  EXPECT_LT(seconds, 60.0);  // quadratic time would be hours
}

TEST(Tokenizer, ShortAndLongPiecesMergeAlike) {
  // One piece of letters at every length around the border between the two ways of merging.
  const Tokenizer& gpt2 = tokenizer("gpt2");
  std::mt19937 random(31);
  for (int round = 0; round < 300; ++round) {
    std::string word;
    for (int i = 0; i < 47; ++i) word += "etaoinshr"[random() % 9];
    const auto short_ids = gpt2.encode(word);
    // The same letters behind a long piece that they cannot merge with: a digit run splits pieces.
    const auto long_ids = gpt2.encode(word + std::string(60, 'q'));
    EXPECT_EQ(gpt2.decode(short_ids), word);
    EXPECT_EQ(gpt2.decode(long_ids), word + std::string(60, 'q'));
  }
}

/// A vocabulary of the 256 bytes, byte b under the id b, in the spelling of vocab.json.
Json byte_vocabulary() {
  Json vocab = Json::object();
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool is_printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
                              (byte >= 0xAE && byte <= 0xFF);
    vocab[utf8(is_printable ? byte : next++)] = static_cast<uint64_t>(byte);
  }
  return vocab;
}

/// A folder of tokenizer files, gone at the end.
class TokenizerFolder {
 public:
  TokenizerFolder() { std::filesystem::create_directories(folder_); }
  ~TokenizerFolder() { std::filesystem::remove_all(folder_); }
  TokenizerFolder(const TokenizerFolder&) = delete;
  TokenizerFolder& operator=(const TokenizerFolder&) = delete;

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::unique_ptr<Tokenizer> load() const { return Tokenizer::load(real_file_system(), folder_); }

  void expect_refused(const std::string& file, const std::string& why) const {
    try {
      load();
      ADD_FAILURE() << why;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat) << why;
      const std::string named = file.empty() ? folder_.string() : (folder_ / file).string();
      EXPECT_NE(std::string(error.what()).find(named), std::string::npos)
          << error.what() << " for " << why;
    } catch (const std::exception& error) {
      ADD_FAILURE() << "not an msa::Error: " << error.what() << " for " << why;
    }
  }

 private:
  std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("msa_tokenizer_" + std::to_string(::getpid()));
};

TEST(Tokenizer, DamagedFilesAreRefusedAndNamed) {
  const TokenizerFolder folder;
  for (
      const char* json :
      {"", "{}", "[1]", R"({"model":{"type":"WordPiece"}})", R"({"model":{"type":"BPE"}})",
       R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
       R"({"model":{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}})",
       R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false}})",
       R"({"model":{"type":"BPE","vocab":{"a":-1},"merges":["a a"]},"pre_tokenizer":{"type":"ByteLevel"}})",
       R"({"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}})",
       R"({"model":{"type":"BPE","vocab":{"a":5},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}})",
       R"({"model":{"type":"BPE","vocab":{"a":0},"merges":["a x"]},"pre_tokenizer":{"type":"ByteLevel"}})",
       R"({"normalizer":{"type":"NFKC"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}})"}) {
    folder.write("tokenizer.json", json);
    folder.expect_refused("", json);
  }
}

TEST(Tokenizer, EveryValueOfAWrongTypeIsRefusedAndTheFileNamed) {
  const TokenizerFolder folder;
  const std::string valid =
      read_file(real_file_system(),
                std::filesystem::path(MSA_SOURCE_DIR) / "models/msa-tiny/tokenizer.json", 1 << 26);
  folder.write("tokenizer.json", valid);
  EXPECT_NO_THROW(folder.load());
  const auto damage = [&](const char* pointer, const Json& value) {
    Json json = parse_json(valid, "tokenizer.json");
    json.at(Json::json_pointer(pointer)) = value;
    folder.write("tokenizer.json", json.dump());
    folder.expect_refused("tokenizer.json", std::string(pointer) + " = " + value.dump());
  };
  const Json null, number = 5, text = "x", list = Json::array({1}), object = {{"x", 1}};
  const std::string split = "/pre_tokenizer/pretokenizers/0";
  const std::string byte_level = "/pre_tokenizer/pretokenizers/1";
  for (const Json& value : {null, number, text, list, object}) {
    for (const std::string& pointer :
         {split, split + "/type", split + "/pattern", split + "/pattern/Regex", split + "/behavior",
          split + "/invert", byte_level, byte_level + "/type", byte_level + "/use_regex",
          std::string("/pre_tokenizer"), std::string("/pre_tokenizer/pretokenizers"),
          std::string("/model"), std::string("/model/vocab"), std::string("/model/merges/0"),
          std::string("/added_tokens/0"), std::string("/added_tokens/0/content"),
          std::string("/added_tokens/0/id")}) {
      damage(pointer.c_str(), value);
    }
  }
  for (const Json& value : {number, text, list, object}) {
    damage((byte_level + "/add_prefix_space").c_str(), value);
    damage("/normalizer", value);
    damage("/added_tokens", value);
    damage("/model/merges", value);
  }
}

TEST(Tokenizer, DamagedFilesBesideAVocabularyAreRefusedAndNamed) {
  const auto write_valid = [](const TokenizerFolder& folder) {
    Json vocab = byte_vocabulary();
    vocab["ab"] = 256U;
    folder.write("vocab.json", vocab.dump());
    folder.write("merges.txt", "#version: 0.2\na b\n");
    folder.write("added_tokens.json", R"({"<|x|>":257})");
    folder.write("tokenizer_config.json",
                 R"({"tokenizer_class":"Qwen2Tokenizer",
                     "added_tokens_decoder":{"257":{"content":"<|x|>"}}})");
  };
  const TokenizerFolder folder;
  write_valid(folder);
  EXPECT_EQ(folder.load()->special_id("<|x|>"), 257);
  for (const auto& [file, text] : std::vector<std::pair<std::string, std::string>>{
           {"added_tokens.json", "[1]"},
           {"added_tokens.json", "null"},
           {"added_tokens.json", "7"},
           {"vocab.json", R"(["a"])"},
           {"vocab.json", R"({"a":"0"})"},
           {"vocab.json", R"({"a":null})"},
           {"tokenizer_config.json", "[]"},
           {"tokenizer_config.json", R"({"tokenizer_class":7})"},
           {"tokenizer_config.json", R"({"added_tokens_decoder":[{"content":"<|x|>"}]})"},
           {"tokenizer_config.json", R"({"added_tokens_decoder":"x"})"},
           {"tokenizer_config.json", R"({"added_tokens_decoder":{"3":"<|x|>"}})"},
           {"tokenizer_config.json", R"({"added_tokens_decoder":{"3":{"content":null}}})"},
           {"tokenizer_config.json", R"({"added_tokens_decoder":{"-3":{"content":"<|x|>"}}})"},
           {"merges.txt", "a b c\n"},
           {"merges.txt", "ab\n"}}) {
    write_valid(folder);
    folder.write(file, text);
    folder.expect_refused(file, file + ": " + text);
  }
  // What is wrong only beside the vocabulary is told under the vocabulary's name.
  for (const char* added : {R"({"<|x|>":"257"})", R"({"<|x|>":null})", R"({"a":1})", R"({"a":[0]})",
                            R"({"<|x|>":4000000})", R"({"":257})"}) {
    write_valid(folder);
    folder.write("tokenizer_config.json", "{}");
    folder.write("added_tokens.json", added);
    folder.expect_refused("vocab.json", added);
  }
}

TEST(Tokenizer, AnIdBeyondTheNumberOfTokensIsRefusedBeforeMemoryIsTaken) {
  const TokenizerFolder folder;
  const auto file = [](const std::string& vocab, const std::string& added) {
    return R"({"model":{"type":"BPE","vocab":)" + vocab + R"(,"merges":[]},"added_tokens":)" +
           added + R"(,"pre_tokenizer":{"type":"ByteLevel"}})";
  };
  folder.write("tokenizer.json",
               file(byte_vocabulary().dump(), R"([{"content":"<|x|>","id":256}])"));
  EXPECT_EQ(folder.load()->vocab_size(), 257);
  const std::string special = R"([{"content":"<|x|>","id":1}])";
  rusage before{};
  rusage after{};
  getrusage(RUSAGE_SELF, &before);
  for (const std::string& json :
       {file(R"({"a":16777215})", "[]"), file(R"({"a":2})", special), file(R"({"a":1})", "[]"),
        file(R"({"a":0})", R"([{"content":"<|x|>","id":16777215}])"),
        file(R"({"a":18446744073709551615})", "[]"), file(R"({"a":-1})", "[]")}) {
    folder.write("tokenizer.json", json);
    folder.expect_refused("tokenizer.json", json);
  }
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 * 1024) << "KiB";
}

TEST(Tokenizer, NoMergeAndNoByteMakesASpecialToken) {
  const TokenizerFolder folder;
  const auto load = [&](const std::string& merges, const std::string& added) {
    Json vocab = byte_vocabulary();
    vocab["ab"] = 256U;
    folder.write("tokenizer.json", R"({"model":{"type":"BPE","vocab":)" + vocab.dump() +
                                       R"(,"merges":)" + merges + R"(},"added_tokens":)" + added +
                                       R"(,"pre_tokenizer":{"type":"ByteLevel"}})");
    return folder.load();
  };
  const std::string a = std::to_string(byte_vocabulary().at("a").get<int>());
  EXPECT_EQ(load(R"(["a b"])", "[]")->encode("ab"), std::vector<int32_t>{256});
  EXPECT_EQ(load("[]", R"([{"content":"ab","id":256}])")->encode("ab").size(), 2U);
  EXPECT_THROW(load(R"(["a b"])", R"([{"content":"ab","id":256}])"), Error);
  EXPECT_THROW(load("[]", R"([{"content":"a","id":)" + a + "}]"), Error);
}

TEST(Tokenizer, AFolderWithoutFilesHoldsNoTokenizer) {
  const TokenizerFolder folder;
  EXPECT_THROW(folder.load(), Error);
}

}  // namespace
}  // namespace msa::text
